/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * follow.c - one connection as text: *Follow > NBD Stream*, tshark -z follow,nbd,ascii,N.
 *
 * Wireshark follows bytes of streams; what is told here are lines of text, one for each
 * message and finding, and ASCII only: that is what all of its views show. N is the number
 * of the connection, from 1.
 */
#include <string.h>

#include "shark.h"

#include <epan/addr_resolv.h>
#include <epan/to_str.h>

struct followed_line {
	bool from_server;
	const char *text;
};

static int follow_tap = -1;

bool nbds_follow_wanted(void)
{
	return have_tap_listener(follow_tap);
}

/* Arrows and dots as ASCII has them; anything else that is not ASCII becomes "?". */
static char *ascii(wmem_allocator_t *pool, const char *text)
{
	static const char *const marks[][2] = {{"→", "->"}, {"…", "..."}, {"–", "-"}};
	wmem_strbuf_t *to = wmem_strbuf_new(pool, NULL);

	while (*text) {
		size_t at = 0, n;

		while (at < G_N_ELEMENTS(marks) && !g_str_has_prefix(text, marks[at][0]))
			at++;
		if (at < G_N_ELEMENTS(marks)) {
			wmem_strbuf_append(to, marks[at][1]);
			text += strlen(marks[at][0]);
			continue;
		}
		n = (size_t)(g_utf8_next_char(text) - text);
		wmem_strbuf_append_c(to, g_ascii_isprint(*text) ? *text : '?');
		/* a character may be cut at the text's end */
		text += strnlen(text, n);
	}
	return wmem_strbuf_finalize(to);
}

void nbds_follow_line(packet_info *pinfo, bool from_server, const char *text)
{
	struct followed_line *line = wmem_new(pinfo->pool, struct followed_line);

	line->from_server = from_server;
	line->text = wmem_strdup_printf(pinfo->pool, "%u %.6f %s %s\n", pinfo->num,
					nstime_to_sec(&pinfo->rel_ts), from_server ? "<" : ">",
					ascii(pinfo->pool, text));
	tap_queue_packet(follow_tap, pinfo, line);
}

/* The two ends, told once. */
static void ends(follow_info_t *info, const packet_info *pinfo)
{
	const struct conn *k = nbds_watch_conn(pinfo->num);
	bool to_server = k && pinfo->destport == k->c->server.port;

	if (info->client_port)
		return;
	info->client_port = to_server ? pinfo->srcport : pinfo->destport;
	info->server_port = to_server ? pinfo->destport : pinfo->srcport;
	copy_address(&info->client_ip, to_server ? &pinfo->src : &pinfo->dst);
	copy_address(&info->server_ip, to_server ? &pinfo->dst : &pinfo->src);
}

static tap_packet_status follow_packet(void *data, packet_info *pinfo, epan_dissect_t *edt _U_,
				       const void *told, tap_flags_t flags _U_)
{
	const struct followed_line *line = told;
	follow_info_t *info = data;
	follow_record_t *record = g_new0(follow_record_t, 1);
	unsigned len = (unsigned)strlen(line->text);

	ends(info, pinfo);
	record->is_server = line->from_server;
	record->packet_num = pinfo->num;
	record->abs_ts = pinfo->abs_ts;
	record->data =
		g_byte_array_append(g_byte_array_sized_new(len), (const uint8_t *)line->text, len);
	info->bytes_written[line->from_server] += len;
	info->payload = g_list_prepend(info->payload, record);
	return TAP_PACKET_DONT_REDRAW;
}

static char *filter_of(unsigned id)
{
	return g_strdup_printf("nbd.conn == %u", id);
}

static char *by_packet(epan_dissect_t *edt _U_, packet_info *pinfo, unsigned *stream,
		       unsigned *sub_stream _U_)
{
	const struct conn *k = nbds_watch_conn(pinfo->num);

	if (!k)
		return NULL;
	*stream = k->id;
	return filter_of(k->id);
}

static char *by_number(unsigned stream, unsigned sub_stream _U_)
{
	return filter_of(stream);
}

static char *by_addresses(address *src, address *dst, int from, int to)
{
	const char *ip = src->type == AT_IPv6 ? "ipv6" : "ip";
	char a[WS_INET6_ADDRSTRLEN], b[WS_INET6_ADDRSTRLEN];

	address_to_str_buf(src, a, sizeof(a));
	address_to_str_buf(dst, b, sizeof(b));
	return g_strdup_printf("nbd && ((%s.src == %s && tcp.srcport == %d && %s.dst == %s &&"
			       " tcp.dstport == %d) || (%s.src == %s && tcp.srcport == %d &&"
			       " %s.dst == %s && tcp.dstport == %d))",
			       ip, a, from, ip, b, to, ip, b, to, ip, a, from);
}

#if NBDS_WS_FOLLOW_COUNT
/* They count from 0, we from 1. */
static uint32_t count(void)
{
	return nbds_watch_conn_count() + 1;
}
#endif

void nbds_follow_register(void)
{
	follow_tap = register_tap("nbd_follow");
	register_follow_stream(nbds_shark_proto, "nbd_follow", by_packet, by_number, by_addresses,
			       tcp_port_to_display, follow_packet
#if NBDS_WS_FOLLOW_COUNT
			       ,
			       count, NULL
#endif
	);
}
