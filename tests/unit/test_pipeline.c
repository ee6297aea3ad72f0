/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * test_pipeline.c - analyzer/pipeline: how the memory is divided.
 *
 * Floods of connection attempts, from as many addresses as it takes, and one NBD
 * connection among them.
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

#include "analyzer/pipeline/pipeline.h"

enum { LINK_RAW = 101, SYN = 2, PSH = 8, ACK = 16, MIB = 1 << 20 };

static struct nbds_pipeline *pipeline;
static uint64_t frames;

/* One end of a connection, and where it stands. */
struct end {
	uint32_t address, seq;
	uint16_t port;
};

static struct end client = {0x0a000001, 5000, 40000}, server = {0x0a000002, 90000, 10809};

static void begin(uint64_t memory)
{
	struct nbds_pipeline_config config = {.engine = {.memory = memory}};
	char err[200];

	frames = 0;
	client.seq = 5000;
	server.seq = 90000;
	pipeline = nbds_pipeline_open_packets(&config, err, sizeof(err));
	assert_non_null(pipeline);
}

static int end(void **state)
{
	(void)state;
	nbds_pipeline_close(pipeline, NULL, 0);
	pipeline = NULL;
	return 0;
}

static uint8_t *put(uint8_t *p, uint64_t value, int bytes)
{
	while (bytes--)
		*p++ = (uint8_t)(value >> 8 * bytes);
	return p;
}

static void send_segment(struct end *from, const struct end *to, int flags, const uint8_t *data,
			 size_t len)
{
	uint8_t frame[400], *p = frame;
	struct nbds_packet packet = {.linktype = LINK_RAW, .data = frame};

	assert_true(len <= sizeof(frame) - 40);
	p = put(p, 0x4500, 2);
	p = put(p, 40 + len, 2);
	p = put(p, 0, 4);
	p = put(p, 64 << 24 | 6 << 16, 4);
	p = put(p, from->address, 4);
	p = put(p, to->address, 4);
	p = put(p, from->port, 2);
	p = put(p, to->port, 2);
	p = put(p, from->seq, 4);
	p = put(p, flags & ACK ? to->seq : 0, 4);
	p = put(p, 5 << 12 | flags, 2);
	p = put(p, 0xffff, 2);
	p = put(p, 0, 4);
	if (len)
		memcpy(p, data, len);
	packet.frame = ++frames;
	packet.time = (int64_t)1700000000 * 1000000000 + (int64_t)frames * 1000;
	packet.caplen = packet.len = (uint32_t)(40 + len);
	nbds_pipeline_packet(pipeline, &packet);
	from->seq += (uint32_t)len + !!(flags & SYN);
}

/* The three-way handshake, and the oldstyle greeting of a server with 1 MiB. */
static void greet(void)
{
	uint8_t greeting[152] = {0}, *p = greeting;

	p = put(p, UINT64_C(0x4e42444d41474943), 8);
	p = put(p, UINT64_C(0x00420281861253), 8);
	p = put(p, MIB, 8);
	put(p, 1, 4);
	send_segment(&client, &server, SYN, NULL, 0);
	send_segment(&server, &client, SYN | ACK, NULL, 0);
	send_segment(&client, &server, ACK, NULL, 0);
	send_segment(&server, &client, PSH | ACK, greeting, sizeof(greeting));
}

/* NBD_CMD_READ of 32 bytes, and its answer. */
static void read_once(uint64_t cookie)
{
	uint8_t request[28], reply[16 + 32] = {0}, *p = request;

	p = put(p, 0x25609513, 4);
	p = put(p, 0, 4);
	p = put(p, cookie, 8);
	p = put(p, 4096, 8);
	put(p, 32, 4);
	send_segment(&client, &server, PSH | ACK, request, sizeof(request));
	p = put(reply, 0x67446698, 4);
	p = put(p, 0, 4);
	put(p, cookie, 8);
	send_segment(&server, &client, PSH | ACK, reply, sizeof(reply));
}

/* `count` clients ask for a connection, and nobody answers. */
static void flood(uint32_t count)
{
	struct end to = server;

	for (uint32_t i = 0; i < count; i++) {
		struct end from = {0x0b000000 + (i >> 12), i * 7919, (uint16_t)(1024 + i % 4096)};

		send_segment(&from, &to, SYN, NULL, 0);
	}
}

static struct nbds_tcp_stats tcp_stats(void)
{
	struct nbds_pipeline_info info;

	nbds_pipeline_info(pipeline, &info);
	return info.tcp;
}

/* The most flows at a time with so much memory. */
static uint64_t most_flows(uint64_t memory, uint32_t attempts)
{
	struct nbds_tcp_stats stats;

	begin(memory);
	flood(attempts);
	stats = tcp_stats();
	assert_int_equal(stats.flows, attempts);
	end(NULL);
	return stats.followed_max;
}

static void flows_follow_from_memory(void **state)
{
	uint64_t most = most_flows(8 * MIB, 3000);

	(void)state;
	assert_true(most >= 500);
	assert_true(most * NBDS_FLOW_BYTES <= 2 * MIB);
	assert_in_range(most_flows(16 * MIB, 3000), 2 * most, 2 * most + 1);
	assert_in_range(most_flows(4 * MIB, 3000), most / 2, most / 2 + 1);
}

static void some_flows_in_any_memory(void **state)
{
	(void)state;
	assert_int_equal(most_flows(1, 1000), most_flows(4096, 1000));
	assert_in_range(most_flows(1, 1000), 16, 256);
}

static void nothing_said_is_a_gibibyte(void **state)
{
	uint64_t most = most_flows(0, 150000);

	(void)state;
	assert_true(most >= 64000);
	assert_true(most * NBDS_FLOW_BYTES <= 256 * MIB);
	assert_int_equal(most, most_flows((uint64_t)1 << 30, 150000));
}

static void a_flood_leaves_connections_alone(void **state)
{
	const struct nbds_connection *c;
	uint64_t reads = 0, answers = 0;

	(void)state;
	begin(MIB);
	greet();
	read_once(1);
	flood(20000);
	read_once(2);
	assert_true(tcp_stats().followed_max < 1000);
	nbds_pipeline_finish(pipeline);
	assert_null(nbds_engine_next_connection(nbds_pipeline_engine(pipeline), 1));
	c = nbds_engine_next_connection(nbds_pipeline_engine(pipeline), 0);
	assert_non_null(c);
	assert_true(c->from_start);
	for (int i = 0; i < NBDS_COMMAND_KINDS; i++) {
		if (c->commands[i].type != NBD_CMD_READ)
			continue;
		reads += c->commands[i].count;
		answers += c->commands[i].replies;
	}
	assert_int_equal(reads, 2);
	assert_int_equal(answers, 2);
	assert_int_equal(c->gaps, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(flows_follow_from_memory, end),
		cmocka_unit_test_teardown(some_flows_in_any_memory, end),
		cmocka_unit_test_teardown(nothing_said_is_a_gibibyte, end),
		cmocka_unit_test_teardown(a_flood_leaves_connections_alone, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
