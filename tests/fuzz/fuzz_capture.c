/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz_capture.c - files of any bytes to packets to segments: decompression,
 * pcap, pcapng, link layer and IP together.
 *
 * The input is the file.  It is read through a memory file, as captures are
 * opened by name.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "analyzer/capture/ip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Where read bytes go, for the compiler to leave none of the reads out. */
volatile uint8_t nbds_fuzz_sink;

/* Small inputs can decompress to a lot; the rest shows nothing new. */
enum { FRAMES_MAX = 20000 };

static void read_all(struct nbds_capture *c, struct nbds_ip *ip)
{
	struct nbds_capture_info info;
	struct nbds_segment s;
	struct nbds_packet p;
	uint64_t frames = 0;
	int status = 1;

	while (frames < FRAMES_MAX && (status = nbds_capture_next(c, &p)) == 1) {
		if (p.frame != ++frames || p.caplen > p.len)
			abort();
		for (uint32_t i = 0; i < p.caplen; i++)
			nbds_fuzz_sink ^= p.data[i];
		if (nbds_ip_segment(ip, &p, &s))
			for (uint32_t i = 0; i < s.caplen; i++)
				nbds_fuzz_sink ^= s.payload[i];
	}
	nbds_capture_info(c, &info);
	if (info.frames != frames || info.complete != (status == 0) || info.start > info.end)
		abort();
	/* An error has its line, and only an error. */
	if ((status < 0) != (nbds_capture_error(c)[0] != 0) || strchr(nbds_capture_error(c), '\n'))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char path[32], err[512] = "";
	struct nbds_capture *c;
	struct nbds_ip *ip;

	if (fd < 0)
		fd = memfd_create("capture", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	c = nbds_capture_open(path, err, sizeof(err));
	if (!c) {
		if (!err[0] || strchr(err, '\n'))
			abort();
		return 0;
	}
	ip = nbds_ip_new();
	if (ip)
		read_all(c, ip);
	nbds_ip_free(ip);
	nbds_capture_close(c);
	return 0;
}
