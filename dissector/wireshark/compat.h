/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * compat.h - Wireshark 4.0 to 4.6 behind one face.
 *
 * Purpose.  Everything in which the versions differ, and that the plugin uses,
 * is here and nowhere else.  Each difference says which versions have it.
 */
#ifndef NBDS_SHARK_COMPAT_H
#define NBDS_SHARK_COMPAT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <ws_version.h>

#define NBDS_WS_AT_LEAST(MAJOR, MINOR)        \
	(WIRESHARK_VERSION_MAJOR > (MAJOR) || \
	 (WIRESHARK_VERSION_MAJOR == (MAJOR) && WIRESHARK_VERSION_MINOR >= (MINOR)))

#if !NBDS_WS_AT_LEAST(4, 0)
#error "Wireshark 4.0 or later is needed"
#endif

#include <glib.h>

#include <epan/column-utils.h>
#include <epan/conversation.h>
#include <epan/epan.h>
#include <epan/expert.h>
#include <epan/export_object.h>
#include <epan/follow.h>
#include <epan/packet.h>
#include <epan/prefs.h>
#include <epan/proto.h>
#include <epan/proto_data.h>
#include <epan/srt_table.h>
#include <epan/stat_tap_ui.h>
#include <epan/stats_tree.h>
#include <epan/tap.h>
#include <epan/tfs.h>
#include <epan/wmem_scopes.h>

#include <wiretap/wtap.h>

/* What a plugin contains: 4.2 and later ask for it; the header that names the
 * bits is in the packages since 4.4. */
#define NBDS_PLUGIN_DISSECTOR    (UINT32_C(1) << 0)
#define NBDS_PLUGIN_TAP_LISTENER (UINT32_C(1) << 4)

/* Truth values in Wireshark's interfaces: gboolean, an int, until 4.2. */
#if NBDS_WS_AT_LEAST(4, 4)
typedef bool nbds_ws_bool;
#else
typedef gboolean nbds_ws_bool;
#endif

/* Followers of streams tell how many there are: 4.2 and later ask. */
#define NBDS_WS_FOLLOW_COUNT NBDS_WS_AT_LEAST(4, 2)

/* Has an interface after the first, counted from 0, a name?  4.4 and later count
 * them anew in each section of a pcapng file. */
static inline bool nbds_ws_interface_known(const packet_info *pinfo, uint32_t interface)
{
	const char *name;

#if NBDS_WS_AT_LEAST(4, 4)
	name = epan_get_interface_name(pinfo->epan, interface,
				       pinfo->rec->presence_flags & WTAP_HAS_SECTION_NUMBER
					       ? pinfo->rec->section_number
					       : 0);
#else
	name = epan_get_interface_name(pinfo->epan, interface);
#endif
	return name && *name && strcmp(name, "unknown") != 0;
}

/* STARTTLS: what follows this frame is TLS, and what is in it is for app_handle.
 * Its header wants Wireshark's own configuration, which no package has. */
uint32_t ssl_starttls_ack(dissector_handle_t tls_handle, packet_info *pinfo,
			  dissector_handle_t app_handle);

#endif
