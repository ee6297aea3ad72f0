/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * register.c - the plugin introduces itself to Wireshark.
 *
 * Wireshark brings a dissector for NBD of its own, whose fields grew from
 * version to version, and a second protocol called "nbd" would stop it at the
 * start.  So its protocol is adopted, and while a file is read, its place taken.
 */
#include "prefs.h"
#include "shark.h"

/* What Wireshark's own dissector uses, while we are in its place. */
static struct {
	dissector_handle_t handle; /* 4.6 and later; else NULL */
	heur_dissector_t heuristic;
	char *display_name, *short_name;
	bool replaced;
} builtin;

/* --- whose NBD is --- */

/* Before a file is read: take, or give back, the built-in's place.  What it has
 * can have changed with its preferences. */
static void take_place(void)
{
	bool ours = !nbds_prefs.builtin;
	GArray *ports = nbds_prefs_ports_of(ours ? builtin.handle : nbds_shark_handle);

	if (builtin.handle)
		for (unsigned i = 0; i < ports->len; i++)
			dissector_change_uint("tcp.port", g_array_index(ports, uint16_t, i),
					      ours ? nbds_shark_handle : builtin.handle);
	g_array_free(ports, TRUE);
	if (!builtin.heuristic || builtin.replaced == ours)
		return;
	if (ours)
		heur_dissector_delete("tcp", builtin.heuristic, nbds_shark_proto);
	else
		heur_dissector_add("tcp", builtin.heuristic, builtin.display_name,
				   builtin.short_name, nbds_shark_proto, HEURISTIC_ENABLE);
	builtin.replaced = ours;
}

static void find_builtin(void)
{
	heur_dtbl_entry_t *entry = find_heur_dissector_by_unique_short_name("nbd_tcp");

	builtin.handle = find_dissector("nbd");
	if (!entry)
		return;
	builtin.heuristic = entry->dissector;
	builtin.display_name = g_strdup(entry->display_name);
	builtin.short_name = g_strdup(entry->short_name);
}

/* --- the dissector --- */

/* Called by TCP, by TLS, or by whoever else carries NBD. */
static int dissect(tvbuff_t *tvb, packet_info *pinfo, proto_tree *tree, void *data _U_)
{
	tvbuff_t *payload;
	struct rec *r = nbds_watch_current(pinfo, &payload);

	if (!r) {
		r = nbds_watch_inside(tvb, pinfo);
		payload = tvb;
	}
	if (!r || !r->flow->conn)
		return 0;
	if (payload)
		nbds_show_record(r, payload, pinfo, tree);
	return (int)tvb_captured_length(tvb);
}

static nbds_ws_bool heuristic(tvbuff_t *tvb, packet_info *pinfo, proto_tree *tree, void *data _U_)
{
	tvbuff_t *payload;
	struct rec *r = nbds_watch_current(pinfo, &payload);

	(void)tvb;
	if (!r || !r->flow->conn)
		return false;
	conversation_set_dissector(find_or_create_conversation(pinfo), nbds_shark_handle);
	if (payload)
		nbds_show_record(r, payload, pinfo, tree);
	return true;
}

void nbds_shark_register(void)
{
	nbds_shark_proto = proto_get_id_by_filter_name("nbd");
	if (nbds_shark_proto < 0)
		nbds_shark_proto = proto_register_protocol("Network Block Device", "NBD", "nbd");
	nbds_shark_proto_tcp = proto_register_protocol_in_name_only(
		"TCP, watched for NBD", "TCP (nbdscope)", "nbdscope",
		proto_get_id_by_filter_name("tcp"), FT_PROTOCOL);
	nbds_shark_register_fields();
	nbds_shark_register_experts();
	nbds_prefs_register();
	nbds_shark_handle = register_dissector_with_description(
		"nbdscope", "Network Block Device (nbdscope)", dissect, nbds_shark_proto);
	nbds_shark_tap = register_tap("nbd");
	nbds_stats_register();
	nbds_follow_register();
	nbds_objects_register();
}

void nbds_shark_handoff(void)
{
	nbds_shark_tls = find_dissector_add_dependency("tls", nbds_shark_proto);
	find_builtin();
	if (builtin.handle)
		dissector_add_for_decode_as("tcp.port", nbds_shark_handle);
	else
		dissector_add_uint_range_with_preference(
			"tcp.port", wmem_strdup_printf(wmem_epan_scope(), "%u", NBDS_PORT),
			nbds_shark_handle);
	heur_dissector_add("tcp", heuristic, "NBD over TCP (nbdscope)", "nbdscope_tcp",
			   nbds_shark_proto, HEURISTIC_ENABLE);
	register_init_routine(take_place);
	nbds_watch_handoff();
}
