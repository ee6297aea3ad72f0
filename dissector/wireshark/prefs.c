/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * prefs.c - what the user wants: Wireshark's preferences, and its table of ports.
 */
#include "prefs.h"

#include <string.h>

#include "shark.h"

struct nbds_prefs nbds_prefs = {.findings = true, .objects = 256};

void nbds_prefs_register(void)
{
	module_t *module = prefs_find_module("nbd");

	if (!module)
		module = prefs_register_protocol(nbds_shark_proto, NULL);
	prefs_register_bool_preference(
		module, "use_builtin", "Use the dissector that Wireshark brings",
		"Leave NBD to Wireshark's own dissector, as if nbdscope was not there.",
		&nbds_prefs.builtin);
	prefs_register_bool_preference(
		module, "findings", "Show what nbdscope finds wrong",
		"Add expert infos to the frames that prove a violation of the protocol's"
		" ordering guarantees, or a hazard.",
		&nbds_prefs.findings);
	prefs_register_bool_preference(
		module, "exclusive", "No writer stays outside of the capture",
		"You vouch that the capture has everybody who writes to the exports."
		" Data that nobody wrote is then a violation.",
		&nbds_prefs.exclusive);
	prefs_register_uint_preference(
		module, "objects", "Most MiB of exported objects",
		"Export Objects keeps in memory what was written. What is more is left out, and"
		" said so.",
		10, &nbds_prefs.objects);
}

/* Ports that were asked for, of those in the table. */
struct ports {
	dissector_handle_t handle;
	GArray *list;
};

static void port_found(const char *table _U_, ftenum_t type _U_, void *key, void *value, void *user)
{
	struct ports *ports = user;
	uint16_t port = (uint16_t)GPOINTER_TO_UINT(key);

	if (ports->handle && dtbl_entry_get_handle(value) == ports->handle)
		g_array_append_val(ports->list, port);
}

GArray *nbds_prefs_ports_of(dissector_handle_t handle)
{
	struct ports ports = {handle, g_array_new(FALSE, FALSE, sizeof(uint16_t))};

	dissector_table_foreach("tcp.port", port_found, &ports);
	return ports.list;
}

bool nbds_prefs_enabled(void)
{
	return !nbds_prefs.builtin &&
	       proto_is_protocol_enabled(find_protocol_by_id(nbds_shark_proto));
}

bool nbds_prefs_any_port(void)
{
	heur_dtbl_entry_t *entry = find_heur_dissector_by_unique_short_name("nbdscope_tcp");

	return entry && entry->enabled;
}

unsigned nbds_prefs_ports(uint16_t *list, unsigned most)
{
	GArray *ports = nbds_prefs_ports_of(nbds_shark_handle);
	unsigned n = ports->len < most ? ports->len : most;

	memcpy(list, ports->data, n * sizeof(*list));
	g_array_free(ports, TRUE);
	return n;
}

bool nbds_prefs_port(uint16_t port)
{
	dissector_table_t table = find_dissector_table("tcp.port");

	return dissector_get_uint_handle(table, port) == nbds_shark_handle;
}
