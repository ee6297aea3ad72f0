/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_pcapng.c - the reader of pcapng files alone.
 *
 * The input is the file.  Packets must be of an interface that is known, and all
 * their bytes must be there to be read; the reader must come to an end, and say why if
 * it was no good one.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "analyzer/capture/capture.h"
#include "analyzer/capture/pcapng.h"
#include "analyzer/capture/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                  \
	do {                                                              \
		if (!(condition)) {                                       \
			fprintf(stderr, "fuzz_pcapng: " #condition "\n"); \
			abort();                                          \
		}                                                         \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t sink = 0;
	static int fd = -1;
	static char path[32];
	struct nbds_source *source;
	struct nbds_pcapng *ng;
	struct nbds_packet p;
	char err[256];
	uint64_t frames = 0;
	int got;

	if (fd < 0) {
		fd = memfd_create("pcapng", MFD_CLOEXEC);
		CHECK(fd >= 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	if (ftruncate(fd, 0) < 0 || (size && pwrite(fd, data, size, 0) != (ssize_t)size))
		abort();
	source = nbds_source_open(path, err, sizeof(err));
	if (!source) {
		CHECK(err[0]);
		return 0;
	}
	ng = nbds_pcapng_new(source);
	CHECK(ng);
	while ((got = nbds_pcapng_next(ng, &p)) == 1) {
		CHECK(++frames <= size);
		CHECK(p.interface < nbds_pcapng_interfaces(ng));
		for (uint32_t i = 0; i < p.caplen; i++)
			sink ^= p.data[i];
		__asm__ volatile("" ::"r"(sink)); /* read all of it */
	}
	if (got < 0)
		CHECK(nbds_pcapng_error(ng)[0]);
	nbds_pcapng_free(ng);
	nbds_source_close(source);
	return 0;
}
