/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * analyzer/capture/capture.h - capture files and interfaces to packets.
 *
 * Purpose.  Opens pcap and pcapng, plain or compressed with gzip, zstd, lz4,
 * xz or bzip2 (recognised by content, `-` is standard input), or a live interface, and
 * hands out packets one by one, in file order.
 *
 * Ownership.  A packet's bytes belong to the capture and are valid until the
 * next call.  Failure.  Functions return -1 (or NULL) and leave one clear line
 * in nbds_capture_error(); what was read before an error stays good.  The line
 * does not name the file read: that is the caller's to add.
 */
#ifndef NBDSCOPE_ANALYZER_CAPTURE_H
#define NBDSCOPE_ANALYZER_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nbdscope/packet.h>

#include "classic.h"

struct nbds_pcapng_interface; /* pcapng.h */
struct nbds_pcapng_secrets;

struct nbds_capture_info {
	const char *format;         /* "pcap", "pcap (nanosecond)", "pcapng", "live" */
	const char *compression;    /* "gzip", "zstd", "lz4", "xz", "bzip2" or NULL */
	uint64_t frames;            /* handed out so far */
	uint64_t bytes;             /* captured bytes handed out so far */
	uint64_t truncated_frames;  /* frames cut by the snapshot length so far */
	uint64_t dropped;           /* dropped by the capture, as far as it says */
	uint64_t dropped_interface; /* live: of them by the interface, not by the kernel */
	bool dropped_known;         /* the source says how many were dropped */
	uint32_t interfaces;        /* interfaces seen so far */
	int64_t start, end;         /* first and last (greatest) time, ns; 0 if no frame */
	bool complete;              /* read to its end without error */
	uint64_t position, size; /* progress: bytes of the file read, of all; size 0 if unknown */
};

struct nbds_capture;

/* Opens `path`. NULL on failure, with the reason in `err` (errsize bytes). */
struct nbds_capture *nbds_capture_open(const char *path, char *err, size_t errsize);

/* The same with an open file, whose descriptor becomes the capture's. */
struct nbds_capture *nbds_capture_open_fd(int fd, char *err, size_t errsize);

/* Opens interface `device` for live capture with the pcap filter `filter`
 * (NULL: all). `snaplen` 0 means whole packets. NULL on failure as above. */
struct nbds_capture *nbds_capture_open_live(const char *device, const char *filter,
					    uint32_t snaplen, char *err, size_t errsize);

/*
 * What makes packets that come neither from a file nor from an interface: a relay's view
 * (../relay/view.h).  The capture takes them as live ones.
 */
#define NBDS_ORIGIN_WORDS 512 /* most bytes of a name or comment, with its end */
struct nbds_capture_origin {
	void *origin;               /* the first argument of all functions */
	const char *name, *comment; /* of the interface, in saved files */
	int linktype;
	uint32_t snaplen;
	/* Calls `each` for packets that are there, about `most` of them, `frame` apart; waits
	 * for 100 ms if there are none. How many there were; -1: see error(). */
	int (*each)(void *origin, int most, void (*each)(void *ctx, struct nbds_packet *p),
		    void *ctx);
	bool (*over)(void *origin);         /* no more will come */
	uint64_t (*dropped)(void *origin);  /* packets so far; cheap, and never late: what was
					     * dropped before a packet is counted with it */
	const char *(*error)(void *origin); /* one line */
	void (*close)(void *origin);
};

/* The origin becomes the capture's; without memory (NULL) it is closed. */
struct nbds_capture *nbds_capture_open_origin(const struct nbds_capture_origin *origin, char *err,
					      size_t errsize);

/* 1: *p is the next packet. 0: the end (file), or nothing within the read
 * time-out of about 100 ms (live). -1: error, see nbds_capture_error(). */
int nbds_capture_next(struct nbds_capture *c, struct nbds_packet *p);

/* A file of a known size, of which reading is never waiting for somebody else. */
bool nbds_capture_is_file(const struct nbds_capture *c);
/* An interface. */
bool nbds_capture_is_live(const struct nbds_capture *c);
/* Before the first packet: packets are to lie in what `lend` gives, and stay there, see
 * nbds_classic_lend(). False: they cannot, this kind of file is read otherwise. */
#define NBDS_CAPTURE_LENT NBDS_CLASSIC_BUFFER
bool nbds_capture_lend(struct nbds_capture *c, uint8_t *(*lend)(void *ctx), void *ctx);

/* Can packets be read again that were handed out before? */
bool nbds_capture_can_reread(const struct nbds_capture *c);
/* Where these bytes of the packet handed out last are; 0: not known. */
uint64_t nbds_capture_place(const struct nbds_capture *c, const uint8_t *bytes);
/* The bytes from such a place on. False: they are not there any more. */
bool nbds_capture_reread(const struct nbds_capture *c, uint64_t place, uint8_t *bytes, size_t size);

/* Live: calls `each` for packets that are there, at most so many (of an origin, about), with
 * less copying.
 * How many there were; 0 and -1 as above. The bytes are valid during the call. */
int nbds_capture_each(struct nbds_capture *c, int most,
		      void (*each)(void *ctx, struct nbds_packet *p), void *ctx);

/* A file that is a pipe: `waiting` is called in nbds_capture_next() whenever the
 * next packet is not there yet, and again about every 100 ms until it is. False:
 * do not wait, the file ends here. */
void nbds_capture_on_wait(struct nbds_capture *c, bool (*waiting)(void *ctx), void *ctx);

/* Also save every packet handed out from now on to `path` ("-": standard output)
 * as pcapng, and what was dropped. 0, or -1 with the reason in
 * nbds_capture_error(). A save that fails later does not stop the reading: the
 * reason is in nbds_capture_save_error(), live within a second, what was saved
 * before can be read, and nbds_capture_close() returns -1. */
int nbds_capture_save(struct nbds_capture *c, const char *path);
/* The same to an open file, whose descriptor becomes the capture's. */
int nbds_capture_save_fd(struct nbds_capture *c, int fd);
/* Ends the saving, and the file; another may begin. 0, or -1 with errno set if it could
 * not be written to its end. */
int nbds_capture_save_end(struct nbds_capture *c);
/* Why nbds_capture_save() or the like was refused last. */
const char *nbds_capture_save_refusal(const struct nbds_capture *c);
/* Another thread has the packets handed out from now on: here they are saved one by one.
 * This and all other functions of saving are then for one thread, which need not be the one
 * that reads. */
void nbds_capture_save_apart(struct nbds_capture *c);
void nbds_capture_save_packet(struct nbds_capture *c, const struct nbds_packet *p);
/* To be called now and then, `quiet` in silence: the file is brought up to date. What was
 * dropped is written at the end as it stands in *info. */
void nbds_capture_save_time(struct nbds_capture *c, const struct nbds_capture_info *info,
			    bool quiet);
/* "": nothing has failed. */
const char *nbds_capture_save_error(const struct nbds_capture *c);

/* What a file says besides packets: `secrets` is called for each block of decryption
 * secrets. To be called before the first packet. */
void nbds_capture_keep_words(struct nbds_capture *c,
			     void (*secrets)(void *ctx, const struct nbds_pcapng_secrets *s),
			     void *ctx);
/* An interface that packets were handed out of; its strings are the capture's. */
void nbds_capture_interface(const struct nbds_capture *c, uint32_t interface,
			    struct nbds_pcapng_interface *i);
/* The comment of the packet handed out last; NULL: none, or it was not to be kept. */
const char *nbds_capture_comment(const struct nbds_capture *c);

/* Of an origin: no more will come. Files end as nbds_capture_next() says. */
bool nbds_capture_over(const struct nbds_capture *c);
/* Of an origin: what was dropped until the packet that was handed out last, or later. */
uint64_t nbds_capture_origin_dropped(const struct nbds_capture *c);

/* The state now. Live: asks the kernel for its drop counters. */
void nbds_capture_info(struct nbds_capture *c, struct nbds_capture_info *info);

/* The same as far as it is known without asking anybody. */
const struct nbds_capture_info *nbds_capture_counts(const struct nbds_capture *c);

/* The last error, one line without newline; "" if none. */
const char *nbds_capture_error(const struct nbds_capture *c);

/* Flushes and closes everything. 0, or -1 with errno set if the saved file could
 * not be written. */
int nbds_capture_close(struct nbds_capture *c);

#endif
