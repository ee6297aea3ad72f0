/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What evidence is masked with: SipHash by its authors' numbers, and what each kind of
 * replacement promises.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>

#include "analyzer/evidence/mask.h"
#include "analyzer/evidence/match.h"
#include "analyzer/evidence/siphash.h"

/* Key 00 01 .. 0f, of the bytes 00 01 ..: from the reference implementation. */
static void test_siphash(void **state)
{
	static const struct {
		size_t len;
		uint64_t hash;
	} known[] = {
		{0, UINT64_C(0x726fdb47dd0e0e31)},
		{1, UINT64_C(0x74f839c593dc67fd)},
		{8, UINT64_C(0x93f5f5799a932462)},
		{15, UINT64_C(0xa129ca6149be45e5)},
	};
	const struct nbds_sip_key key = {UINT64_C(0x0706050403020100),
					 UINT64_C(0x0f0e0d0c0b0a0908)};
	uint8_t bytes[16];

	(void)state;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		assert_int_equal(nbds_sip(&key, bytes, known[i].len), known[i].hash);
}

/* At each place other bytes stand for all of them, and 0 for 0. */
static void test_bytes(void **state)
{
	struct nbds_mask *m = nbds_mask_new(), *other = nbds_mask_new();
	unsigned same_place = 0, same_mask = 0;

	(void)state;
	assert_non_null(m);
	assert_non_null(other);
	for (uint64_t at = 0; at < 64; at++) {
		bool seen[256] = {false};

		for (unsigned v = 0; v < 256; v++) {
			uint8_t to = nbds_mask_byte(m, at, (uint8_t)v);

			assert_false(seen[to]);
			seen[to] = true;
			assert_int_equal(to == 0, v == 0);
			assert_int_equal(to, nbds_mask_byte(m, at, (uint8_t)v));
			same_place += v && to == nbds_mask_byte(m, at + 64, (uint8_t)v);
			same_mask += v && to == nbds_mask_byte(other, at, (uint8_t)v);
		}
	}
	/* about 1 of 255, by chance */
	assert_in_range(same_place, 0, 1000);
	assert_in_range(same_mask, 0, 1000);
	nbds_mask_free(m);
	nbds_mask_free(other);
}

static void test_sectors(void **state)
{
	struct nbds_mask *m = nbds_mask_new();
	uint8_t zero[NBDS_MASK_SECTOR] = {0}, a[NBDS_MASK_SECTOR] = {1},
		b[NBDS_MASK_SECTOR] = {1, 1};
	uint64_t of_a = nbds_mask_digest(m, a), of_b = nbds_mask_digest(m, b);
	unsigned alike = 0, elsewhere = 0;

	(void)state;
	assert_int_equal(nbds_mask_digest(m, zero), 0);
	assert_int_equal(nbds_mask_sector_byte(m, 0, 77, false), 0);
	assert_int_not_equal(of_a, of_b);
	assert_int_equal(of_a, nbds_mask_digest(m, a));
	for (uint64_t i = 0; i < NBDS_MASK_SECTOR; i++) {
		uint8_t here = nbds_mask_sector_byte(m, of_a, i, false);

		/* They were equal but for a byte, and that shows nowhere. */
		alike += here == nbds_mask_sector_byte(m, of_b, i, false);
		elsewhere += here == nbds_mask_sector_byte(m, of_a, i + 4096, false);
		assert_int_equal(nbds_mask_sector_byte(m, of_a, i, true),
				 nbds_mask_sector_byte(m, of_a, i + 4096, true));
	}
	assert_in_range(alike, 0, 20);
	assert_in_range(elsewhere, 0, 20);
	nbds_mask_free(m);
}

static void mask_name(struct nbds_mask *m, const char *name, uint8_t *out)
{
	nbds_mask_name(m, (const uint8_t *)name, strlen(name), out);
	out[strlen(name)] = '\0';
}

static void test_names(void **state)
{
	struct nbds_mask *m = nbds_mask_new();
	uint8_t a[64], b[64], all[26][2];

	(void)state;
	mask_name(m, "production-database", a);
	mask_name(m, "production-database", b);
	assert_string_equal(a, b);
	assert_string_not_equal(a, "production-database");
	assert_int_equal(strlen((char *)a), strlen("production-database"));
	mask_name(m, "production-databasf", b);
	assert_string_not_equal(a, b);
	mask_name(m, "base:allocation", a);
	assert_string_equal(a, "base:allocation");
	mask_name(m, "qemu:dirty-bitmap:secret", a);
	assert_memory_equal(a, "qemu:dirty-bitmap:", 18);
	assert_string_not_equal(a + 18, "secret");
	/* Short ones do not fall together. */
	for (int i = 0; i < 12; i++) {
		char name[2] = {(char)('A' + i), '\0'};

		mask_name(m, name, all[i]);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(all[i], all[j]);
	}
	assert_false(nbds_mask_failed(m));
	nbds_mask_free(m);
}

static struct nbds_addr address(const char *text, uint16_t port)
{
	struct nbds_addr a = {.family = strchr(text, ':') ? 6 : 4, .port = port};

	assert_int_equal(inet_pton(a.family == 6 ? AF_INET6 : AF_INET, text, a.ip), 1);
	return a;
}

static void test_addresses(void **state)
{
	static const char *const real[] = {"192.0.2.1", "192.0.2.2",   "10.1.2.3",
					   "127.0.0.1", "2001:db8::1", "::1"};
	const size_t count = sizeof(real) / sizeof(real[0]);
	struct nbds_mask *m = nbds_mask_new();

	(void)state;
	for (size_t i = 0; i < count; i++) {
		struct nbds_addr a = address(real[i], 1);

		nbds_mask_avoid(m, &a);
	}
	for (size_t i = 0; i < count; i++) {
		struct nbds_addr a = address(real[i], 10809), b = address(real[i], 5555);
		struct nbds_addr to = nbds_mask_address(m, &a), too = nbds_mask_address(m, &b);

		assert_int_equal(to.port, 10809);
		assert_int_equal(to.family, a.family);
		assert_memory_equal(to.ip, too.ip, sizeof(to.ip));
		for (size_t j = 0; j < count; j++) {
			struct nbds_addr other = address(real[j], 10809);

			assert_false(nbds_addr_equal(&to, &other));
			other = nbds_mask_address(m, &other);
			assert_int_equal(nbds_addr_equal(&to, &other), i == j);
		}
		/* Whether it is loopback says how well order is known. */
		if (a.family == 4)
			assert_int_equal(to.ip[0] == 127, a.ip[0] == 127);
	}
	nbds_mask_free(m);
}

/* --- the same finding --- */

static bool matches(const struct nbds_match *m, const char *first, const char *second)
{
	struct nbds_finding a = {.rule = nbds_rules, .message = first, .frames = {10}};
	struct nbds_finding b = {.rule = nbds_rules, .message = second, .frames = {1}};

	return nbds_match(m, &a, &b);
}

static void test_match(void **state)
{
	const uint64_t frames[] = {10, 20, 30};
	struct nbds_match m = {.frames = frames, .frame_count = 3};

	(void)state;
	assert_true(matches(&m, "in frame 20 of 5 bytes", "in frame 2 of 5 bytes"));
	assert_false(matches(&m, "in frame 20 of 5 bytes", "in frame 3 of 5 bytes"));
	assert_false(matches(&m, "in frame 20 of 5 bytes", "in frame 2 of 6 bytes"));
	assert_false(matches(&m, "in frame 20", "in frame 2, too"));
	assert_false(matches(&m, "conn 7 wrote", "conn 4 wrote"));
	assert_false(matches(&m, "export \"a\"", "export \"b\""));
	m.renumbered = true;
	assert_true(
		matches(&m, "conn 7 and conn 9 wrote 8 bytes", "conn 4 and conn 5 wrote 8 bytes"));
	assert_false(matches(&m, "conn 7 wrote 8 bytes", "conn 4 wrote 9 bytes"));
	m.masked = true;
	assert_true(
		matches(&m, "export \"a\" of 10.0.0.1:10809", "export \"b\" of 192.0.2.9:10809"));
	assert_true(matches(&m, "magic 0x12345678", "magic 0x78787878"));
	assert_false(matches(&m, "magic 0x12345678", "magic 0x12345679"));
	assert_false(matches(&m, "export \"a\" of 5", "export \"b\" of 6"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash),   cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_sectors),   cmocka_unit_test(test_names),
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_match),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
