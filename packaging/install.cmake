# SPDX-License-Identifier: GPL-2.0-or-later
#
# Where pages, completions, documents and the binding go.  Used by the project itself, and by
# deb/ for packages; a component is a package.  Wants NBDSCOPE_SOURCE, the project's
# directory, and rules_page, the page that was written from the table of rules.

# --- manual pages ---

set(pages nbdaudit.1 nbdtop.1 nbdscope-wireshark.7 nbdscope-consistency.7)
list(TRANSFORM pages PREPEND ${NBDSCOPE_SOURCE}/docs/man/)
list(APPEND pages ${rules_page})
foreach(page ${pages})
	string(REGEX REPLACE ".*\\.([0-9])$" "man\\1" section ${page})
	get_filename_component(name ${page} NAME)
	set(component tools)
	if(name STREQUAL nbdscope-wireshark.7)
		set(component wireshark)
	endif()
	install(FILES ${page} DESTINATION ${CMAKE_INSTALL_MANDIR}/${section}
		COMPONENT ${component})
endforeach()

# --- completions ---

# zsh looks below its own prefix in site-functions; Debian keeps /usr's for packages.
set(zsh ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
if(CMAKE_INSTALL_PREFIX STREQUAL /usr AND EXISTS /etc/debian_version)
	set(zsh ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
endif()
set(NBDSCOPE_ZSHDIR "" CACHE STRING "zsh's folder of completions; empty: ${zsh}")
if(NBDSCOPE_ZSHDIR)
	set(zsh ${NBDSCOPE_ZSHDIR})
endif()
foreach(program nbdaudit nbdtop)
	install(FILES ${NBDSCOPE_SOURCE}/packaging/completions/${program}.bash RENAME ${program} COMPONENT tools
		DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
	install(FILES ${NBDSCOPE_SOURCE}/packaging/completions/${program}.zsh RENAME _${program} COMPONENT tools
		DESTINATION ${zsh})
	install(FILES ${NBDSCOPE_SOURCE}/packaging/completions/${program}.fish COMPONENT tools
		DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endforeach()

# --- for whoever watches many hosts ---

install(FILES ${NBDSCOPE_SOURCE}/packaging/prometheus/nbdscope.rules.yml
	DESTINATION ${CMAKE_INSTALL_DATADIR}/nbdscope/prometheus COMPONENT tools)
install(FILES ${NBDSCOPE_SOURCE}/packaging/grafana/nbdscope.json
	DESTINATION ${CMAKE_INSTALL_DATADIR}/nbdscope/grafana COMPONENT tools)
# systemd looks below /usr/local and /usr alike; it is started by whoever enables it.
install(FILES ${NBDSCOPE_SOURCE}/packaging/systemd/nbdaudit@.service
	DESTINATION lib/systemd/system COMPONENT tools)

# --- documents, samples, examples ---

install(FILES ${NBDSCOPE_SOURCE}/README.md ${NBDSCOPE_SOURCE}/SECURITY.md
	DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT tools)
if(NOT NBDSCOPE_DEBIAN)
	# Debian's packages have a copyright that refers to the common licence, and a
	# compressed list of changes.
	install(FILES ${NBDSCOPE_SOURCE}/LICENSE ${NBDSCOPE_SOURCE}/CHANGELOG.md
		DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT tools)
endif()
file(GLOB documents CONFIGURE_DEPENDS ${NBDSCOPE_SOURCE}/docs/*.md)
install(FILES ${documents} ${NBDSCOPE_SOURCE}/docs/report.schema.json
	DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs COMPONENT tools)
file(GLOB samples CONFIGURE_DEPENDS ${NBDSCOPE_SOURCE}/samples/*.pcap*
	${NBDSCOPE_SOURCE}/samples/README.md)
install(FILES ${samples} DESTINATION ${CMAKE_INSTALL_DOCDIR}/samples COMPONENT tools)
install(DIRECTORY ${NBDSCOPE_SOURCE}/examples DESTINATION ${CMAKE_INSTALL_DOCDIR}
	COMPONENT development PATTERN slurm EXCLUDE)
install(PROGRAMS ${NBDSCOPE_SOURCE}/examples/slurm/nbdaudit-array COMPONENT tools
	DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples/slurm)

# --- Python ---

set(NBDSCOPE_PYTHONDIR lib/python3/dist-packages CACHE STRING
	"Where nbdscope.py goes; PYTHONPATH finds it anywhere")
install(FILES ${NBDSCOPE_SOURCE}/bindings/python/nbdscope.py
	DESTINATION ${NBDSCOPE_PYTHONDIR} COMPONENT python)
