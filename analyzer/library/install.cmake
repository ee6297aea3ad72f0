# SPDX-License-Identifier: GPL-2.0-or-later
#
# Headers and the file for pkg-config.  Used here, and by packaging/deb; wants
# NBDSCOPE_SOURCE, the project's directory.

set(headers audit.h common.h messages.h nbdscope.h)
list(TRANSFORM headers PREPEND ${NBDSCOPE_SOURCE}/include/nbdscope/)
# Found from where the file is, so that any --prefix and DESTDIR are right.
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
	message(FATAL_ERROR "CMAKE_INSTALL_LIBDIR and _INCLUDEDIR are below the prefix")
endif()
file(RELATIVE_PATH NBDSCOPE_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" NBDSCOPE_PC_PREFIX ${NBDSCOPE_PC_PREFIX})
configure_file(${NBDSCOPE_SOURCE}/analyzer/library/nbdscope.pc.in nbdscope.pc @ONLY)
install(FILES ${headers} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/nbdscope
	COMPONENT development)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/nbdscope.pc
	DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
