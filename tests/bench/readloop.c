/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * readloop.c - the least that reading a capture costs, to compare with.
 *
 *	readloop FILE          a bare pcap_next_ex() loop
 *	readloop --hash FILE   and XXH3 over each 512 bytes of each packet
 *
 * Both print one line: packets, captured bytes, and a sum that depends on every
 * packet's length (with --hash: on every byte), so that no work can be left out.
 *
 * Exit status: 0 if the file was read to its end, 1 if not, 2 for bad usage.
 */
#include <inttypes.h>
#include <pcap/pcap.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { SECTOR = 512 };

static uint64_t hash_sectors(const uint8_t *data, size_t length)
{
	uint64_t sum = 0;

	for (; length >= SECTOR; data += SECTOR, length -= SECTOR)
		sum += XXH3_64bits(data, SECTOR);
	return length ? sum + XXH3_64bits(data, length) : sum;
}

int main(int argc, char **argv)
{
	bool hash = argc == 3 && !strcmp(argv[1], "--hash");
	uint64_t packets = 0, bytes = 0, sum = 0;
	char err[PCAP_ERRBUF_SIZE];
	struct pcap_pkthdr *head;
	const u_char *data;
	pcap_t *pcap;
	int status;

	if (argc != 2 && !hash) {
		fprintf(stderr, "usage: readloop [--hash] FILE\n");
		return 2;
	}
	pcap = pcap_open_offline(argv[argc - 1], err);
	if (!pcap) {
		fprintf(stderr, "readloop: %s\n", err);
		return 1;
	}
	while ((status = pcap_next_ex(pcap, &head, &data)) == 1) {
		packets++;
		bytes += head->caplen;
		sum = sum * 31 + (hash ? hash_sectors(data, head->caplen) : head->caplen);
	}
	printf("%" PRIu64 " packets, %" PRIu64 " bytes, checksum %016" PRIx64 "\n", packets, bytes,
	       sum);
	if (status != PCAP_ERROR_BREAK)
		fprintf(stderr, "readloop: %s\n", pcap_geterr(pcap));
	pcap_close(pcap);
	return status == PCAP_ERROR_BREAK ? 0 : 1;
}
