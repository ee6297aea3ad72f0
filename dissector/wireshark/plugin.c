/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * plugin.c - what Wireshark looks for in a plugin.
 *
 * A plugin is for one major and minor version of Wireshark; Wireshark refuses
 * others by plugin_want_major and plugin_want_minor.
 */
#include "shark.h"

#define EXPORT __attribute__((visibility("default")))

EXPORT extern const char plugin_version[];
EXPORT extern const int plugin_want_major;
EXPORT extern const int plugin_want_minor;
EXPORT void plugin_register(void);
EXPORT uint32_t plugin_describe(void);

const char plugin_version[] = NBDSCOPE_VERSION;
const int plugin_want_major = WIRESHARK_VERSION_MAJOR;
const int plugin_want_minor = WIRESHARK_VERSION_MINOR;

void plugin_register(void)
{
	static proto_plugin plugin = {
		.register_protoinfo = nbds_shark_register,
		.register_handoff = nbds_shark_handoff,
	};

	proto_register_plugin(&plugin);
}

uint32_t plugin_describe(void)
{
	return NBDS_PLUGIN_DISSECTOR | NBDS_PLUGIN_TAP_LISTENER;
}
