/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pcapng.h - pcapng files: a reader of blocks to packets, and a small writer.
 *
 * Purpose.  libpcap reads pcapng too, but refuses files whose interfaces differ
 * in link type or snapshot length, and tells neither a packet's interface nor
 * how many packets the capture dropped.  Hence this reader.  The format is
 * draft-ietf-opsawg-pcapng.
 *
 * Ownership.  A packet's bytes lie in the reader's buffer until the next call.
 * Memory is bounded by NBDS_PCAPNG_BLOCK_MAX and NBDS_PCAPNG_INTERFACES_MAX.
 * Failure.  -1 and one line that says what is wrong, not where.
 */
#ifndef NBDSCOPE_ANALYZER_PCAPNG_H
#define NBDSCOPE_ANALYZER_PCAPNG_H

#include <nbdscope/packet.h>

#include "source.h"

#define NBDS_PCAPNG_MAGIC          0x0a0d0d0au /* the same in either byte order */
#define NBDS_PCAPNG_BLOCK_MAX      (64u << 20)
#define NBDS_PCAPNG_INTERFACES_MAX 65536u

struct nbds_pcapng;

/* Reads from `source`, which stays the caller's. NULL without memory. */
struct nbds_pcapng *nbds_pcapng_new(struct nbds_source *source);
void nbds_pcapng_free(struct nbds_pcapng *ng);

/* 1: *p is the next packet (its `frame` is the caller's to set). 0: the end.
 * -1: error, see nbds_pcapng_error(). */
int nbds_pcapng_next(struct nbds_pcapng *ng, struct nbds_packet *p);
const char *nbds_pcapng_error(const struct nbds_pcapng *ng);
/* Of other records that Wireshark gives the numbers of frames to (custom blocks, the journal
 * of systemd, sysdig's events), how many were passed over since this was asked last. */
uint64_t nbds_pcapng_passed(struct nbds_pcapng *ng);
/* The error is that the file ends inside a packet. */
bool nbds_pcapng_cut_packet(const struct nbds_pcapng *ng);

/* Interfaces so far, over all sections; one's link type. */
uint32_t nbds_pcapng_interfaces(const struct nbds_pcapng *ng);
int nbds_pcapng_linktype(const struct nbds_pcapng *ng, uint32_t interface);
/* Packets dropped according to the file; false if it does not say. */
bool nbds_pcapng_dropped(const struct nbds_pcapng *ng, uint64_t *dropped);

/*
 * What a file says besides packets.  It is kept only if it is asked for, before the first
 * packet: `secrets` is called for each block of decryption secrets.
 */
struct nbds_pcapng_secrets {
	uint32_t kind; /* "TLSK", ... */
	const uint8_t *data;
	uint32_t length;
};
void nbds_pcapng_keep_words(struct nbds_pcapng *ng,
			    void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s),
			    void *ctx);

/* Most bytes of a name or comment that are kept. */
#define NBDS_PCAPNG_WORDS_MAX 512

/* An interface.  Strings are NULL where the file has none (or they were not to be kept),
 * and the reader's. */
struct nbds_pcapng_interface {
	int linktype;
	uint32_t snaplen;   /* 0: no limit */
	uint8_t resolution; /* if_tsresol: 6 is microseconds, 9 nanoseconds */
	const char *name, *description, *comment;
};
void nbds_pcapng_interface(const struct nbds_pcapng *ng, uint32_t interface,
			   struct nbds_pcapng_interface *i);
/* The comment of the packet handed out last, cut off at NBDS_PCAPNG_WORDS_MAX; NULL: none. */
const char *nbds_pcapng_comment(const struct nbds_pcapng *ng);

/*
 * The writer: one section in the machine's byte order. Times are in nanoseconds, or as an
 * interface has them.
 */
struct nbds_pcapng_writer;

/* Creates `path` ("-": standard output). NULL on failure, reason in `err`, without the path. */
struct nbds_pcapng_writer *nbds_pcapng_create(const char *path, char *err, size_t errsize);
/* The same with an open descriptor, which becomes the writer's. NULL without memory:
 * it is closed. */
struct nbds_pcapng_writer *nbds_pcapng_writer_new(int fd);
/* The same with a comment of the section, of which some 2,000 bytes are written. */
struct nbds_pcapng_writer *nbds_pcapng_writer_commented(int fd, const char *comment);
/* Interfaces are numbered from 0 in the order of these calls. `name` may be
 * NULL. Functions return 0, or -1 with errno set, also for an earlier failure. */
int nbds_pcapng_write_interface(struct nbds_pcapng_writer *w, int linktype, uint32_t snaplen,
				const char *name);
/* The same with all that is known of it. Of resolutions, those from seconds (0) to
 * nanoseconds (9) are written as they are. */
int nbds_pcapng_describe_interface(struct nbds_pcapng_writer *w,
				   const struct nbds_pcapng_interface *i);
uint32_t nbds_pcapng_written_interfaces(const struct nbds_pcapng_writer *w);
int nbds_pcapng_write_packet(struct nbds_pcapng_writer *w, const struct nbds_packet *p);
/* The same with a comment, of which some 1,000 bytes are written; NULL: none. */
int nbds_pcapng_write_commented(struct nbds_pcapng_writer *w, const struct nbds_packet *p,
				const char *comment);
/* The same with one more. */
int nbds_pcapng_write_commented2(struct nbds_pcapng_writer *w, const struct nbds_packet *p,
				 const char *comment, const char *second);
int nbds_pcapng_write_secrets(struct nbds_pcapng_writer *w, const struct nbds_pcapng_secrets *s);
/* Drop counters of one interface: by the interface, and by the system. */
int nbds_pcapng_write_drops(struct nbds_pcapng_writer *w, uint32_t interface, int64_t time,
			    uint64_t ifdrop, uint64_t osdrop);
int nbds_pcapng_flush(struct nbds_pcapng_writer *w);
/* Frees w in any case. */
int nbds_pcapng_finish(struct nbds_pcapng_writer *w);

#endif
