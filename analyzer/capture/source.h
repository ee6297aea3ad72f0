/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * source.h - a file, pipe or standard input as one stream of plain bytes.
 *
 * Purpose.  Opens the input, recognises gzip, zstd, LZ4, xz and bzip2 by the
 * first bytes (never by the name) and decompresses while it reads.  Several
 * members or frames in a row are one stream, as their own tools read them.
 *
 * Ownership.  The source owns its descriptor and buffers, which do not grow
 * with the input.  Failure.  Functions return -1 (or NULL) and leave one line,
 * without the name of the file and without newline.  Bytes that were produced
 * before an error are handed out first.
 */
#ifndef NBDSCOPE_ANALYZER_SOURCE_H
#define NBDSCOPE_ANALYZER_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct nbds_source;

/* `path` "-" is standard input. NULL on failure, with the reason in `err`. */
struct nbds_source *nbds_source_open(const char *path, char *err, size_t errsize);
/* An open file, from where it stands; the descriptor becomes the source's. */
struct nbds_source *nbds_source_open_fd(int fd, char *err, size_t errsize);
void nbds_source_close(struct nbds_source *s);

/* Up to `size` (> 0) bytes; fewer do not mean the end. 0: the end. -1: error. */
ssize_t nbds_source_read(struct nbds_source *s, void *buffer, size_t size);

/* The first bytes, at most NBDS_SOURCE_PEEK, that the next read will bring:
 * how many there are is less than `size` only at the end. -1: error. Only
 * before the first read. */
#define NBDS_SOURCE_PEEK 32
ssize_t nbds_source_peek(struct nbds_source *s, uint8_t *bytes, size_t size);

/* `waiting` is called whenever there is nothing to read and the end has not come
 * either, as with a pipe, and again about every 100 ms until there is. False: take
 * it for the end. */
void nbds_source_on_wait(struct nbds_source *s, bool (*waiting)(void *ctx), void *ctx);

/* Can bytes that were read be read again? True of plain files, not of pipes and of what is
 * decompressed. */
bool nbds_source_can_reread(const struct nbds_source *s);
/* The `size` bytes that nbds_source_read() brought after the first `at`. False: they are
 * not there any more. */
bool nbds_source_reread(const struct nbds_source *s, uint64_t at, uint8_t *bytes, size_t size);

/* "" if there was no error. */
const char *nbds_source_error(const struct nbds_source *s);
/* "gzip", "zstd", "lz4", "xz", "bzip2", or NULL for plain bytes. */
const char *nbds_source_compression(const struct nbds_source *s);
/* Bytes of the file read so far, and its size, 0 if unknown (a pipe). */
uint64_t nbds_source_position(const struct nbds_source *s);
uint64_t nbds_source_size(const struct nbds_source *s);

#endif
