/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_ip.c - analyzer/capture/ip: link layers, IP headers, fragments.
 *
 * Frames are built byte by byte.  A frame lies in a block of exactly its size
 * when it is read, so that a sanitizer sees any byte read past its end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "analyzer/capture/ip.h"

enum { ETHERNET = 1, TCP = 6, UDP = 17, MS = 1000000 };

/* The frame under construction. */
static uint8_t frame[400 * 1000];
static uint32_t length;

static struct nbds_ip *ip;
static struct nbds_packet packet;
static struct nbds_segment segment;
static struct nbds_ip_stats before;
static uint8_t *block; /* the exact copy that is read */
static int64_t now;

static int start(void **state)
{
	(void)state;
	ip = nbds_ip_new();
	now = (int64_t)1700000000 * 1000 * MS;
	length = 0;
	return ip ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	nbds_ip_free(ip);
	free(block);
	block = NULL;
	return 0;
}

static void put8(uint32_t v)
{
	assert_true(length < sizeof(frame));
	frame[length++] = (uint8_t)v;
}

static void put16(uint32_t v)
{
	put8(v >> 8);
	put8(v);
}

static void put32(uint32_t v)
{
	put16(v >> 16);
	put16(v);
}

static void zeroes(uint32_t count)
{
	while (count--)
		put8(0);
}

static void ethernet(uint32_t type)
{
	length = 0;
	zeroes(12);
	put16(type);
}

/* 192.0.2.1 to 198.51.100.2, with `options` bytes of options. */
static void ipv4(uint32_t total, uint32_t id, uint32_t fragment, uint32_t protocol,
		 uint32_t options)
{
	put8(0x45 + options / 4);
	put8(0);
	put16(total);
	put16(id);
	put16(fragment);
	put8(64);
	put8(protocol);
	put16(0);
	put32(0xc0000201);
	put32(0xc6336402);
	zeroes(options);
}

/* 2001:db8::1 to 2001:db8::2 */
static void ipv6(uint32_t payload, uint32_t next)
{
	put32(0x60000000);
	put16(payload);
	put8(next);
	put8(64);
	for (uint32_t last = 1; last <= 2; last++) {
		put32(0x20010db8);
		zeroes(8);
		put32(last);
	}
}

static uint8_t pattern(uint32_t at)
{
	return (uint8_t)(at * 7 + (at >> 8) * 13 + 1);
}

/* A TCP header of `header` bytes and `payload` bytes of the pattern. */
static void tcp(uint32_t header, uint32_t payload)
{
	put16(40000);
	put16(10809);
	put32(0x11223344);
	put32(0x55667788);
	put8(header / 4 << 4);
	put8(NBDS_TCP_ACK | NBDS_TCP_PSH | 0xc0); /* CWR and ECE, not told */
	put16(4321);
	put32(0);
	zeroes(header > 20 ? header - 20 : 0);
	for (uint32_t i = 0; i < payload; i++)
		put8(pattern(i));
}

/* Reads the frame, of which `caplen` bytes were captured. */
static bool read_cut(int linktype, uint32_t caplen)
{
	before = *nbds_ip_stats(ip);
	free(block);
	block = malloc(caplen ? caplen : 1);
	assert_non_null(block);
	memcpy(block, frame, caplen);
	packet = (struct nbds_packet){
		.frame = 1,
		.time = now,
		.caplen = caplen,
		.len = length,
		.linktype = linktype,
		.data = block,
	};
	return nbds_ip_segment(ip, &packet, &segment);
}

static bool read_frame(int linktype)
{
	return read_cut(linktype, length);
}

/* The payload is `wire` bytes of the pattern, of which `here` are here. */
static void assert_payload(uint32_t wire, uint32_t here)
{
	assert_ptr_equal(segment.packet, &packet);
	assert_int_equal(segment.len, wire);
	assert_int_equal(segment.caplen, here);
	for (uint32_t i = 0; i < here; i++)
		if (segment.payload[i] != pattern(i))
			fail_msg("payload byte %u of %u is wrong", i, here);
	assert_int_equal(segment.seq, 0x11223344);
	assert_int_equal(segment.ack, 0x55667788);
	assert_int_equal(segment.flags, NBDS_TCP_ACK | NBDS_TCP_PSH);
	assert_int_equal(segment.window, 4321);
}

static void assert_addresses(const char *src, const char *dst)
{
	char text[NBDS_ADDR_TEXT];

	assert_string_equal(nbds_addr_text(&segment.src, text), src);
	assert_string_equal(nbds_addr_text(&segment.dst, text), dst);
}

static void assert_ipv4(uint32_t payload)
{
	assert_payload(payload, payload);
	assert_addresses("192.0.2.1:40000", "198.51.100.2:10809");
}

static void assert_ipv6(uint32_t payload)
{
	assert_payload(payload, payload);
	assert_addresses("[2001:db8::1]:40000", "[2001:db8::2]:10809");
}

/* The last frame was none, and counted once, as `member`. */
#define assert_counted(read, member)                                                 \
	do {                                                                         \
		assert_false(read);                                                  \
		struct nbds_ip_stats expected = before;                              \
		expected.member++;                                                   \
		assert_memory_equal(nbds_ip_stats(ip), &expected, sizeof(expected)); \
	} while (0)

/* --- link layers ---------------------------------------------------------- */

static void test_ethernet(void **state)
{
	(void)state;
	ethernet(0x0800);
	ipv4(20 + 20 + 5, 1, 0, TCP, 0);
	tcp(20, 5);
	assert_true(read_frame(ETHERNET));
	assert_ipv4(5);
	zeroes(15); /* padding to 60 and more is no payload */
	assert_true(read_frame(ETHERNET));
	assert_ipv4(5);
	assert_int_equal(nbds_ip_stats(ip)->segments, 2);

	ethernet(0x86dd);
	ipv6(20 + 7, TCP);
	tcp(20, 7);
	zeroes(3);
	assert_true(read_frame(ETHERNET));
	assert_ipv6(7);

	ethernet(0x0806); /* ARP */
	zeroes(46);
	assert_counted(read_frame(ETHERNET), not_tcp);
	ethernet(60); /* 802.3 with LLC */
	zeroes(60);
	assert_counted(read_frame(ETHERNET), not_tcp);
}

static void test_vlans(void **state)
{
	static const uint32_t types[] = {0x8100, 0x88a8, 0x9100, 0x9200};

	(void)state;
	for (int tags = 1; tags <= 16; tags++) {
		ethernet(types[tags % 4]);
		for (int i = 1; i <= tags; i++) {
			put16(0x0123);
			put16(i == tags ? 0x0800 : types[(tags + i) % 4]);
		}
		ipv4(45, 1, 0, TCP, 0);
		tcp(20, 5);
		assert_true(read_frame(ETHERNET));
		assert_ipv4(5);
	}
	ethernet(0x8100);
	for (int i = 0; i < 1000; i++)
		put32(0x00018100);
	assert_counted(read_frame(ETHERNET), malformed);
	ethernet(0x8100);
	put16(1);
	assert_counted(read_frame(ETHERNET), malformed);
}

static void test_other_links(void **state)
{
	static const int raw[] = {12, 14, 101};
	static const uint32_t families[] = {10, 23, 24, 28, 30};

	(void)state;
	for (int i = 0; i < 3; i++) {
		length = 0;
		ipv4(45, 1, 0, TCP, 0);
		tcp(20, 5);
		assert_true(read_frame(raw[i]));
		assert_ipv4(5);
		length = 0;
		ipv6(25, TCP);
		tcp(20, 5);
		assert_true(read_frame(raw[i]));
		assert_ipv6(5);
	}
	assert_true(read_frame(229));
	assert_ipv6(5);
	assert_counted(read_frame(228), malformed); /* an IPv6 packet */
	length = 0;
	ipv4(45, 1, 0, TCP, 0);
	tcp(20, 5);
	assert_true(read_frame(228));
	assert_ipv4(5);
	assert_counted(read_frame(229), malformed);
	frame[0] = 0x55;
	assert_counted(read_frame(12), malformed);
	length = 0;
	assert_counted(read_frame(12), malformed);

	/* NULL in either byte order, LOOP */
	for (int big = 0; big < 2; big++) {
		length = 0;
		put32(big ? 2 : 2u << 24);
		ipv4(45, 1, 0, TCP, 0);
		tcp(20, 5);
		assert_true(read_frame(big ? 108 : 0));
		assert_ipv4(5);
		for (int i = 0; i < 5; i++) {
			length = 0;
			put32(big ? families[i] : families[i] << 24);
			ipv6(25, TCP);
			tcp(20, 5);
			assert_true(read_frame(0));
			assert_ipv6(5);
		}
	}
	length = 0;
	put32(7); /* AppleTalk, or so */
	zeroes(40);
	assert_counted(read_frame(0), not_tcp);

	/* SLL with the type at its end, SLL2 at its start; both with a VLAN tag */
	for (int tagged = 0; tagged < 2; tagged++) {
		length = 0;
		put16(0);
		put16(1);
		put16(6);
		zeroes(8);
		put16(tagged ? 0x8100 : 0x0800);
		if (tagged)
			put32(0x00050800);
		ipv4(45, 1, 0, TCP, 0);
		tcp(20, 5);
		assert_true(read_frame(113));
		assert_ipv4(5);

		length = 0;
		put16(tagged ? 0x88a8 : 0x86dd);
		put16(0);
		put32(3);
		put16(1);
		put16(6);
		zeroes(8);
		if (tagged)
			put32(0x000586dd);
		ipv6(25, TCP);
		tcp(20, 5);
		assert_true(read_frame(276));
		assert_ipv6(5);
	}

	ethernet(0x0800);
	ipv4(45, 1, 0, TCP, 0);
	tcp(20, 5);
	assert_counted(read_frame(105), unknown_link);
	assert_counted(read_frame(-1), unknown_link);
}

/* --- lengths -------------------------------------------------------------- */

static void test_ipv4_lengths(void **state)
{
	(void)state;
	/* options of IP and TCP */
	for (uint32_t ip_options = 0; ip_options <= 40; ip_options += 4) {
		for (uint32_t header = 20; header <= 60; header += 4) {
			ethernet(0x0800);
			ipv4(20 + ip_options + header + 9, 1, 0x4000, TCP, ip_options);
			tcp(header, 9);
			assert_true(read_frame(ETHERNET));
			assert_ipv4(9);
		}
	}
	/* total length 0: to the end of the frame */
	ethernet(0x0800);
	ipv4(0, 1, 0, TCP, 0);
	tcp(32, 200000);
	assert_true(read_frame(ETHERNET));
	assert_ipv4(200000);
	/* more than the frame: what is missing was cut off */
	ethernet(0x0800);
	ipv4(20 + 20 + 1000, 1, 0, TCP, 0);
	tcp(20, 100);
	assert_true(read_frame(ETHERNET));
	assert_payload(1000, 100);
	/* shorter than its own header, than TCP's */
	ethernet(0x0800);
	ipv4(19, 1, 0, TCP, 0);
	tcp(20, 100);
	assert_counted(read_frame(ETHERNET), malformed);
	ethernet(0x0800);
	ipv4(39, 1, 0, TCP, 0);
	tcp(20, 100);
	assert_counted(read_frame(ETHERNET), malformed);
	ethernet(0x0800);
	ipv4(41, 1, 0, TCP, 0);
	tcp(24, 100);
	assert_counted(read_frame(ETHERNET), malformed);
	/* header lengths below the least */
	ethernet(0x0800);
	ipv4(140, 1, 0, TCP, 0);
	tcp(16, 100);
	assert_counted(read_frame(ETHERNET), malformed);
	ethernet(0x0800);
	ipv4(140, 1, 0, TCP, 0);
	tcp(20, 100);
	frame[14] = 0x44;
	assert_counted(read_frame(ETHERNET), malformed);
	frame[14] = 0x65;
	assert_counted(read_frame(ETHERNET), malformed);
	/* no TCP */
	ethernet(0x0800);
	ipv4(140, 1, 0, UDP, 0);
	tcp(20, 100);
	assert_counted(read_frame(ETHERNET), not_tcp);
}

static void test_ipv6_lengths(void **state)
{
	(void)state;
	/* 0: to the end of the frame */
	ethernet(0x86dd);
	ipv6(0, TCP);
	tcp(32, 300000);
	assert_true(read_frame(ETHERNET));
	assert_ipv6(300000);
	/* the same, with a jumbo payload option */
	ethernet(0x86dd);
	ipv6(0, 0);
	put8(TCP);
	put8(0);
	put16(0xc204);
	put32(8 + 32 + 300000);
	tcp(32, 300000);
	assert_true(read_frame(ETHERNET));
	assert_ipv6(300000);
	ethernet(0x86dd);
	ipv6(1020, TCP);
	tcp(20, 100);
	assert_true(read_frame(ETHERNET));
	assert_payload(1000, 100);
	ethernet(0x86dd);
	ipv6(19, TCP);
	tcp(20, 100);
	assert_counted(read_frame(ETHERNET), malformed);
	ethernet(0x86dd);
	ipv6(25, UDP);
	tcp(20, 5);
	assert_counted(read_frame(ETHERNET), not_tcp);
	ethernet(0x86dd);
	ipv6(25, 59); /* no next header */
	tcp(20, 5);
	assert_counted(read_frame(ETHERNET), not_tcp);
}

static void test_extensions(void **state)
{
	static const uint8_t kinds[] = {0, 43, 60, 51};

	(void)state;
	for (uint32_t count = 1; count <= 32; count++) {
		uint32_t lengths = 0;

		ethernet(0x86dd);
		ipv6(0, kinds[0]);
		for (uint32_t i = 0; i < count; i++) {
			uint32_t units = 1 + i % 3; /* of 8 bytes */
			uint32_t kind = kinds[i % 4];

			put8(i + 1 == count ? TCP : kinds[(i + 1) % 4]);
			put8(kind == 51 ? units * 2 - 2 : units - 1);
			zeroes(units * 8 - 2);
			lengths += units * 8;
		}
		tcp(20, 11);
		frame[18] = (uint8_t)((lengths + 31) >> 8);
		frame[19] = (uint8_t)(lengths + 31);
		zeroes(3);
		assert_true(read_frame(ETHERNET));
		assert_ipv6(11);
	}
	/* too many, and one that is longer than the packet */
	ethernet(0x86dd);
	ipv6(33 * 8 + 25, 60);
	for (int i = 0; i < 33; i++) {
		put16(i == 32 ? TCP << 8 : 60 << 8);
		zeroes(6);
	}
	tcp(20, 5);
	assert_counted(read_frame(ETHERNET), malformed);
	ethernet(0x86dd);
	ipv6(8 + 25, 60);
	put16(TCP << 8 | 200);
	zeroes(6);
	tcp(20, 5);
	assert_counted(read_frame(ETHERNET), malformed);
	ethernet(0x86dd);
	ipv6(6, 60);
	put16(TCP << 8);
	zeroes(4);
	assert_counted(read_frame(ETHERNET), malformed);
}

/* Cut behind every byte: a segment from the 20th byte of TCP on, else a header
 * that is counted as cut; a frame that really is so short is malformed. */
static void test_cut(void **state)
{
	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		uint32_t at = version == 4 ? 14 + 24 : 14 + 40 + 8, whole;

		ethernet(version == 4 ? 0x0800 : 0x86dd);
		if (version == 4) {
			ipv4(24 + 32 + 50, 1, 0, TCP, 4);
		} else {
			ipv6(8 + 32 + 50, 60);
			put16(TCP << 8);
			zeroes(6);
		}
		tcp(32, 50);
		whole = length;
		for (uint32_t cut = 0; cut < whole; cut++) {
			length = whole;
			if (cut < at + 20) {
				assert_counted(read_cut(ETHERNET, cut), truncated_headers);
			} else {
				assert_true(read_cut(ETHERNET, cut));
				assert_payload(50, cut < at + 32 ? 0 : cut - at - 32);
			}
			/* IP says how much there was, if that much of it is there */
			length = cut;
			if (cut < (version == 4 ? 34u : 54u))
				assert_counted(read_frame(ETHERNET), malformed);
			else if (cut < at + 20)
				assert_counted(read_frame(ETHERNET), truncated_headers);
			else
				assert_true(read_frame(ETHERNET));
		}
	}
}

/* --- fragments ------------------------------------------------------------ */

/* The datagram that is cut up: a TCP header and the pattern. */
static uint8_t datagram[70 * 1000];
static uint32_t datagram_length;

static void make_datagram(uint32_t payload)
{
	length = 0;
	tcp(20, payload);
	memcpy(datagram, frame, length);
	datagram_length = length;
}

static void put_datagram(uint32_t from, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		put8(datagram[from + i]);
}

/* Sends bytes [from, from + count) as a fragment of datagram `id`. */
static bool send4_as(uint32_t id, uint32_t from, uint32_t count, bool more)
{
	ethernet(0x0800);
	ipv4(20 + count, id, from / 8 | (more ? 0x2000 : 0), TCP, 0);
	put_datagram(from, count);
	return read_frame(ETHERNET);
}

static bool send4(uint32_t id, uint32_t from, uint32_t count)
{
	return send4_as(id, from, count, from + count < datagram_length);
}

/* `next` as the fragment header has it. */
static bool send6(uint32_t id, uint32_t from, uint32_t count, uint32_t next)
{
	ethernet(0x86dd);
	ipv6(8 + count, 44);
	put8(next);
	put8(0);
	put16(from | (from + count < datagram_length));
	put32(id);
	put_datagram(from, count);
	return read_frame(ETHERNET);
}

static void test_fragments(void **state)
{
	/* in order, reversed, shuffled; sent by their numbers */
	static const uint8_t orders[][5] = {
		{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 0, 4, 1, 3}, {1, 4, 0, 3, 2}};

	(void)state;
	make_datagram(2000);
	for (uint32_t order = 0; order < 4; order++) {
		for (int version = 4; version <= 6; version += 2) {
			for (uint32_t i = 0; i < 5; i++) {
				uint32_t from = orders[order][i] * 480u;
				uint32_t count = from == 1920 ? 100 : 480;
				bool done = version == 4 ? send4(order, from, count)
							 : send6(order, from, count, TCP);

				assert_int_equal(done, i == 4);
			}
			if (version == 4)
				assert_ipv4(2000);
			else
				assert_ipv6(2000);
		}
	}
	assert_int_equal(nbds_ip_stats(ip)->fragments, 40);
	assert_int_equal(nbds_ip_stats(ip)->segments, 8);
	assert_int_equal(nbds_ip_stats(ip)->fragments_lost, 0);
	assert_int_equal(nbds_ip_stats(ip)->malformed, 0);
}

/* The smallest fragments and the largest datagram. */
static void test_fragment_sizes(void **state)
{
	(void)state;
	make_datagram(1003);
	for (uint32_t at = 0; at < datagram_length; at += 8) {
		uint32_t count = datagram_length - at < 8 ? datagram_length - at : 8;

		assert_int_equal(send4(7, at, count), at + count == datagram_length);
	}
	assert_ipv4(1003);

	make_datagram(65535 - 20);
	assert_int_equal(datagram_length, 65535);
	for (uint32_t at = 0; at < 65535; at += 1480) {
		uint32_t count = 65535 - at < 1480 ? 65535 - at : 1480;

		assert_int_equal(send6(7, at, count, TCP), at + count == 65535);
	}
	assert_ipv6(65515);

	/* a fragment that is the whole, and has nothing to do with others of its
	 * number (RFC 6946) */
	make_datagram(100);
	assert_false(send6(8, 0, 80, TCP));
	assert_true(send6(8, 0, 120, TCP));
	assert_ipv6(100);
	assert_true(send6(8, 80, 40, TCP));
	assert_ipv6(100);
	assert_int_equal(nbds_ip_stats(ip)->malformed, 0);
}

/* Fragments of different datagrams do not mix: id, addresses, version. */
static void test_fragment_keys(void **state)
{
	(void)state;
	make_datagram(100);
	assert_false(send4(1, 0, 80));
	assert_false(send6(1, 0, 80, TCP));
	assert_false(send4(2, 80, 40));
	assert_false(send6(2, 80, 40, TCP));
	ethernet(0x0800);
	ipv4(20 + 40, 1, 10, TCP, 0);
	put_datagram(80, 40);
	frame[29] ^= 1; /* another source */
	assert_false(read_frame(ETHERNET));
	assert_true(send4(1, 80, 40));
	assert_ipv4(100);
	assert_true(send6(1, 80, 40, TCP));
	assert_ipv6(100);
	/* fragments of other protocols are not kept */
	ethernet(0x0800);
	ipv4(20 + 80, 3, 0x2000, UDP, 0);
	put_datagram(0, 80);
	assert_counted(read_frame(ETHERNET), not_tcp);
	assert_counted(send6(3, 0, 80, UDP), not_tcp);
}

/* Overlaps: the first copy of each byte stays. Equal copies change nothing. */
static void test_overlap(void **state)
{
	uint8_t saved[200];

	(void)state;
	make_datagram(180);
	memcpy(saved, datagram, sizeof(saved));
	assert_false(send4(1, 0, 96));
	assert_false(send4(1, 48, 96)); /* equal bytes */
	assert_false(send4(1, 0, 96));
	assert_true(send4(1, 104, 96));
	assert_ipv4(180);

	/* Other bytes in the overlap: then the checksum must be that of the first
	 * copies. Here it is. */
	memset(saved + 16, 0, 2);
	uint32_t sum = 0xc000 + 0x0201 + 0xc633 + 0x6402 + TCP + 200;
	for (uint32_t i = 0; i < 200; i += 2)
		sum += (uint32_t)saved[i] << 8 | saved[i + 1];
	sum = (sum >> 16) + (sum & 0xffff);
	sum = ~((sum >> 16) + sum) & 0xffff;
	saved[16] = (uint8_t)(sum >> 8);
	saved[17] = (uint8_t)sum;
	memcpy(datagram, saved, sizeof(saved));
	assert_false(send4(2, 0, 96));
	memset(datagram + 48, 0xee, 48);
	assert_false(send4(2, 48, 96)); /* lies about 48 to 96, brings 96 to 144 */
	assert_true(send4(2, 144, 56));
	assert_ipv4(180);

	/* The other way round the liar was first: what comes out is told by the
	 * checksum, and nothing is handed on. */
	assert_false(send4(3, 48, 96));
	memcpy(datagram, saved, sizeof(saved));
	assert_false(send4(3, 0, 96));
	assert_false(send4(3, 144, 56));
	assert_int_equal(nbds_ip_stats(ip)->fragments_lost, 1);
}

/* The identification went round: the rest of another datagram is no rest. */
static void test_stale_fragment(void **state)
{
	(void)state;
	make_datagram(180);
	assert_false(send4(1, 104, 96));
	now += 600 * (int64_t)MS;
	datagram[120] ^= 1;
	assert_false(send4(1, 0, 104)); /* complete, but late and the sum is wrong */
	assert_int_equal(nbds_ip_stats(ip)->fragments_lost, 1);

	/* 30 s later nothing waits any more, also if time goes back */
	for (int back = 0; back < 2; back++) {
		assert_false(send4(2, 104, 96));
		now += back ? -31000 * (int64_t)MS : 31000 * (int64_t)MS;
		assert_false(send4(2, 0, 104));
		assert_int_equal(nbds_ip_stats(ip)->fragments_lost, 2 + back);
		assert_true(send4(2, 104, 96));
	}
}

/* Teardrop, ping of death and their like: nothing comes out, nothing breaks. */
static void test_hostile_fragments(void **state)
{
	(void)state;
	make_datagram(400);
	/* no bytes; a length that is no multiple of 8 */
	assert_false(send4_as(1, 0, 0, true));
	assert_false(send4_as(1, 0, 100 - 1, true));
	assert_int_equal(nbds_ip_stats(ip)->malformed, 2);
	/* beyond 65535 */
	ethernet(0x0800);
	ipv4(20 + 24, 1, 0x1fff, TCP, 0);
	zeroes(24);
	assert_false(read_frame(ETHERNET));
	assert_int_equal(nbds_ip_stats(ip)->malformed, 3);
	/* two ends that differ, and a fragment beyond the end */
	assert_false(send4_as(2, 80, 40, false));
	assert_false(send4_as(2, 80, 48, false));
	assert_false(send4_as(2, 80, 32, false));
	assert_false(send4_as(2, 160, 40, true));
	assert_int_equal(nbds_ip_stats(ip)->malformed, 6);
	/* an end before what came already */
	assert_false(send4_as(3, 160, 80, true));
	assert_false(send4_as(3, 80, 40, false));
	assert_int_equal(nbds_ip_stats(ip)->malformed, 7);
	/* an inner fragment within the first one */
	assert_false(send4_as(4, 0, 48, true));
	assert_false(send4_as(4, 24, 4, false));
	assert_int_equal(nbds_ip_stats(ip)->malformed, 8);
	/* a complete datagram that is shorter than a TCP header */
	assert_false(send4_as(5, 0, 8, true));
	assert_false(send4_as(5, 8, 8, false));
	assert_int_equal(nbds_ip_stats(ip)->malformed, 9);
	/* a fragment inside a reassembled datagram: no second round */
	memset(datagram, 0, 64);
	datagram[0] = 44;
	datagram_length = 120;
	assert_false(send6(6, 0, 80, 60));
	assert_false(send6(6, 80, 40, 60));
	assert_int_equal(nbds_ip_stats(ip)->not_tcp, 1);
	assert_int_equal(nbds_ip_stats(ip)->segments, 0);
}

/* Extension headers in the fragmented part, known from its first fragment; what
 * the others say of the next header does not count. */
static void test_fragmented_extensions(void **state)
{
	(void)state;
	length = 0;
	put16(TCP << 8 | 1);
	zeroes(14);
	tcp(20, 200);
	memcpy(datagram, frame, length);
	datagram_length = length;
	assert_false(send6(1, 160, 76, TCP));
	assert_false(send6(1, 0, 80, 60));
	assert_true(send6(1, 80, 80, TCP));
	assert_ipv6(200);
}

/* Of one source at most 64 datagrams wait; the oldest is given up. */
static void test_fragment_limit(void **state)
{
	(void)state;
	make_datagram(180);
	for (uint32_t id = 0; id < 64; id++)
		assert_false(send4(id, 0, 104));
	assert_int_equal(nbds_ip_stats(ip)->fragments_lost, 0);
	assert_false(send4(64, 0, 104));
	assert_int_equal(nbds_ip_stats(ip)->fragments_lost, 1);
	for (uint32_t id = 1; id <= 64; id++) {
		assert_true(send4(id, 104, 96));
		assert_ipv4(180);
	}
	assert_false(send4(0, 104, 96)); /* it was the oldest */
	for (uint32_t id = 1000; id < 5000; id++)
		assert_false(send4(id, 0, 104));
	assert_int_equal(nbds_ip_stats(ip)->fragments_lost, 1 + 1 + 4000 - 64);
}

/* Who sends nothing but first fragments pushes out nobody else's. Sources share a list where their
 * hashes do, of one seed in 256: not with each of three. */
static void test_fragment_flood(void **state)
{
	uint64_t lost = 0;

	for (int tries = 0; tries < 3 && lost != 5000 - 64; tries++) {
		stop(state);
		start(state);
		make_datagram(180);
		assert_false(send6(7, 0, 104, TCP));
		for (uint32_t id = 0; id < 5000; id++)
			assert_false(send4(id, 0, 104));
		lost = nbds_ip_stats(ip)->fragments_lost;
	}
	assert_int_equal(lost, 5000 - 64);
	assert_true(send6(7, 104, 96, TCP));
	assert_ipv6(180);
}

/* Fragments cut by the snapshot length: what is here up to the first hole. */
static void test_cut_fragments(void **state)
{
	(void)state;
	make_datagram(1000);
	ethernet(0x0800);
	ipv4(20 + 400, 1, 0x2000, TCP, 0);
	put_datagram(0, 400);
	assert_false(read_cut(ETHERNET, 14 + 20 + 203));
	assert_true(send4(1, 400, 620));
	assert_payload(1000, 200 - 20);

	/* The other copy of it is whole. */
	ethernet(0x0800);
	ipv4(20 + 400, 2, 0x2000, TCP, 0);
	put_datagram(0, 400);
	assert_false(read_cut(ETHERNET, 14 + 20 + 203));
	assert_false(send4(2, 0, 400));
	assert_true(send4(2, 400, 620));
	assert_payload(1000, 200 - 20);

	ethernet(0x0800);
	ipv4(20 + 620, 3, 50, TCP, 0);
	put_datagram(400, 620);
	assert_false(read_cut(ETHERNET, 14 + 20));
	assert_true(send4(3, 0, 400));
	assert_payload(1000, 400 - 20);
}

static void test_addresses(void **state)
{
	struct nbds_addr a = {.ip = {192, 0, 2, 1}, .port = 10809, .family = 4}, b = a;
	char text[NBDS_ADDR_TEXT];

	(void)state;
	assert_true(nbds_addr_equal(&a, &b));
	assert_string_equal(nbds_addr_text(&a, text), "192.0.2.1:10809");
	b.port++;
	assert_false(nbds_addr_equal(&a, &b));
	b = a;
	b.family = 6;
	assert_false(nbds_addr_equal(&a, &b));
	b = a;
	b.ip[3] = 2;
	assert_false(nbds_addr_equal(&a, &b));
	memset(b.ip, 0xff, 16);
	b.family = 6;
	b.port = 65535;
	assert_string_equal(nbds_addr_text(&b, text),
			    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
}

/* --- what a segment says -------------------------------------------------- */

/* RFC 1071, byte by byte: of `n` bytes at `at`, added to `sum`. */
static uint32_t add(uint32_t sum, uint32_t at, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sum += i & 1 ? frame[at + i] : (uint32_t)frame[at + i] << 8;
	return (sum & 0xffff) + (sum >> 16);
}

static void set16(uint32_t at, uint32_t v)
{
	frame[at] = (uint8_t)(v >> 8);
	frame[at + 1] = (uint8_t)v;
}

/* The checksum of the pseudo header (`length` as it is summed), of a frame whose IP
 * header of `header` bytes is at 14. */
static uint32_t pseudo(uint32_t header, uint32_t length_summed)
{
	uint32_t size = header == 20 ? 4 : 16, sum;

	sum = add(TCP + length_summed, 14 + header - 2 * size, 2 * size);
	return (sum & 0xffff) + (sum >> 16);
}

static void test_checksums(void **state)
{
	(void)state;
	for (uint32_t payload = 0; payload < 70; payload++) {
		for (uint32_t header = 20; header <= 40; header += 20) {
			uint32_t tcp_at = 14 + header, sum;

			ethernet(header == 20 ? 0x0800 : 0x86dd);
			if (header == 20)
				ipv4(20 + 20 + payload, 1, 0, TCP, 0);
			else
				ipv6(20 + payload, TCP);
			tcp(20, payload);

			/* left to the hardware, with the length or without it */
			for (int with = 0; with < 2; with++) {
				set16(tcp_at + 16, pseudo(header, with ? 20 + payload : 0));
				assert_true(read_frame(ETHERNET));
				assert_int_equal(segment.checksum, NBDS_SUM_UNDONE);
			}
			set16(tcp_at + 16, 0);
			sum = add(pseudo(header, 20 + payload), tcp_at, 20 + payload);
			sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
			set16(tcp_at + 16, sum);
			assert_true(read_frame(ETHERNET));
			assert_int_equal(segment.checksum, NBDS_SUM_RIGHT);
			if (payload) {
				assert_true(read_cut(ETHERNET, length - 1));
				assert_int_equal(segment.checksum, NBDS_SUM_UNKNOWN);
			}
			set16(tcp_at + 16, sum ^ 0x0400);
			assert_true(read_frame(ETHERNET));
			assert_int_equal(segment.checksum, NBDS_SUM_WRONG);
			set16(tcp_at + 16, sum);

			/* each bit counts, those of the addresses too */
			for (uint32_t at = tcp_at - (header == 20 ? 8 : 32); at < length; at++) {
				if (at == tcp_at + 12)
					continue; /* the header's length */
				frame[at] ^= 0x10;
				assert_true(read_frame(ETHERNET));
				assert_int_equal(segment.checksum, NBDS_SUM_WRONG);
				frame[at] ^= 0x10;
			}
			if (header == 40) {
				assert_int_equal(segment.ip_checksum, NBDS_SUM_UNKNOWN);
				continue;
			}
			assert_int_equal(segment.ip_checksum, NBDS_SUM_UNDONE);
			sum = add(0, 14, 20);
			sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
			set16(24, sum);
			assert_true(read_frame(ETHERNET));
			assert_int_equal(segment.ip_checksum, NBDS_SUM_RIGHT);
			frame[22]--; /* TTL */
			assert_true(read_frame(ETHERNET));
			assert_int_equal(segment.ip_checksum, NBDS_SUM_WRONG);
		}
	}
}

static void test_options(void **state)
{
	static const uint8_t options[] = {2,    4,    5, 0xb4, 1, 3, 3, 7, 1,  1,    5,
					  18,   0,    0, 0,    9, 0, 0, 0, 20, 0xff, 0xff,
					  0xff, 0xf0, 0, 0,    0, 2, 0, 0, 0,  0};
	static const uint8_t stamp[] = {1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 9, 0};
	const uint32_t header = 20 + sizeof(options), at = 14 + 20 + 20;

	(void)state;
	ethernet(0x0800);
	ipv4(20 + header + 3, 1, 0, TCP, 0);
	tcp(header, 3);
	memcpy(frame + at, options, sizeof(options));
	assert_true(read_frame(ETHERNET));
	assert_int_equal(segment.scale, 7);
	assert_int_equal(segment.sack_count, 2);
	assert_int_equal(segment.sack[0].from, 9);
	assert_int_equal(segment.sack[0].to, 20);
	assert_int_equal(segment.sack[1].from, 0xfffffff0);
	assert_int_equal(segment.sack[1].to, 2);
	assert_false(segment.stamped);

	/* the rest of them is cut off, is nonsense, or comes after their end */
	assert_true(read_cut(ETHERNET, at + 15));
	assert_int_equal(segment.scale, 7);
	assert_int_equal(segment.sack_count, 0);
	assert_int_equal(segment.len, 3);
	assert_int_equal(segment.caplen, 0);
	frame[at + 11] = 40;
	assert_true(read_frame(ETHERNET));
	assert_int_equal(segment.sack_count, 0);
	frame[at + 5] = 0;
	assert_true(read_frame(ETHERNET));
	assert_int_equal(segment.scale, -1);
	frame[at] = 0;
	assert_true(read_frame(ETHERNET));
	assert_int_equal(segment.scale, -1);

	memcpy(frame + at, stamp, sizeof(stamp));
	assert_true(read_frame(ETHERNET));
	assert_true(segment.stamped);
	assert_int_equal(segment.stamp, 0x01020304);
	frame[at + 3] = 11;
	assert_true(read_frame(ETHERNET));
	assert_false(segment.stamped);
}

#define ip_test(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ip_test(test_ethernet),
		ip_test(test_vlans),
		ip_test(test_other_links),
		ip_test(test_ipv4_lengths),
		ip_test(test_ipv6_lengths),
		ip_test(test_extensions),
		ip_test(test_cut),
		ip_test(test_fragments),
		ip_test(test_fragment_sizes),
		ip_test(test_fragment_keys),
		ip_test(test_overlap),
		ip_test(test_stale_fragment),
		ip_test(test_hostile_fragments),
		ip_test(test_fragmented_extensions),
		ip_test(test_fragment_limit),
		ip_test(test_fragment_flood),
		ip_test(test_cut_fragments),
		ip_test(test_checksums),
		ip_test(test_options),
		cmocka_unit_test(test_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
