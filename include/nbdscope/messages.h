/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nbdscope/messages.h - libnbdscope: the bytes of one connection in, messages out.
 *
 * Purpose.  A decoder is given the bytes of both directions of one connection, in
 * pieces of any size, and hands out what they say: the greeting, options and their
 * replies, requests, replies and chunks, each by its name in the specification and with
 * its fields by the names of Wireshark's display filters.
 *
 * Order.  Bytes of one direction come in their order; of the two directions a request
 * has to come before its reply, and an option before its own.
 *
 * Memory.  What is kept is bounded by what was fed and not fetched: a message's head is
 * copied, its payload is not.  No number in the traffic makes anything be allocated.
 *
 * Example.
 *	struct nbdscope_decoder *d = nbdscope_decoder_new();
 *	const struct nbdscope_message *m;
 *
 *	nbdscope_decoder_feed(d, NBDSCOPE_SERVER, bytes, n);
 *	while ((m = nbdscope_decoder_next(d)))
 *		puts(nbdscope_message_summary(m));
 *	nbdscope_decoder_free(d);
 */
#ifndef NBDSCOPE_MESSAGES_H
#define NBDSCOPE_MESSAGES_H

#include <nbdscope/common.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A connection's decoder. The caller's, from new to free. */
struct nbdscope_decoder;
/* A message, or what is none. The decoder's. */
struct nbdscope_message;

/* A decoder for one connection whose first byte is the first one fed. NULL: ENOMEM. */
NBDSCOPE_API struct nbdscope_decoder *nbdscope_decoder_new(void);

/* The same for one that is met in its middle: it is silent until requests and replies
 * that belong together show where messages begin. NULL: ENOMEM. */
NBDSCOPE_API struct nbdscope_decoder *nbdscope_decoder_new_middle(void);

/* Frees it, and its messages. NULL is allowed. */
NBDSCOPE_API void nbdscope_decoder_free(struct nbdscope_decoder *decoder);

/* `len` bytes that `side` sent, next in its direction. They stay the caller's, and are
 * not needed after the call. Errors: EINVAL (no such side; after the side's end), ENOMEM
 * (some messages of this call are lost; the decoder goes on). */
NBDSCOPE_API int nbdscope_decoder_feed(struct nbdscope_decoder *decoder, enum nbdscope_side side,
				       const void *bytes, size_t len);

/* `len` bytes of `side` are not known, which come next. Errors: as for feed. */
NBDSCOPE_API int nbdscope_decoder_gap(struct nbdscope_decoder *decoder, enum nbdscope_side side,
				      uint64_t len);

/* `side` sends nothing more: a message that is not whole is told as such. Errors: as for
 * feed. */
NBDSCOPE_API int nbdscope_decoder_end(struct nbdscope_decoder *decoder, enum nbdscope_side side);

/* Payload, as it is fed: data written or read, extents. `number` is that of its message
 * (nbdscope_message_number()), `at` where in the payload the `len` bytes are. They are
 * those that were fed, valid during the call, which must not use the decoder. NULL: payload
 * is passed over, which is how a decoder begins. No failure. */
typedef void nbdscope_payload_fn(void *context, uint64_t number, uint64_t at, const void *bytes,
				 size_t len);
NBDSCOPE_API void nbdscope_decoder_on_payload(struct nbdscope_decoder *decoder,
					      nbdscope_payload_fn *payload, void *context);

/* The next message, in the order in which their heads became whole; NULL: more bytes are
 * needed (errno is left alone). Valid until the next call of this function, or free. */
NBDSCOPE_API const struct nbdscope_message *nbdscope_decoder_next(struct nbdscope_decoder *decoder);

/* 1: a message of the protocol. 0: something else about the bytes, in words: bytes that
 * are no message, bytes that were passed over, TLS, a message that was broken off. No
 * failure, as of all functions below. */
NBDSCOPE_API int nbdscope_message_is_message(const struct nbdscope_message *message);

/* Counts what next() hands out, from 1. */
NBDSCOPE_API uint64_t nbdscope_message_number(const struct nbdscope_message *message);

/* The specification's name: "NBD_OPT_GO", "NBD_REP_INFO", "NBD_CMD_WRITE",
 * "NBD_SIMPLE_REPLY", "NBD_REPLY_TYPE_OFFSET_DATA"; "NBD_GREETING", "NBD_CLIENT_FLAGS" and
 * "NBD_EXPORT_NAME_REPLY" for what has none there; "unknown command 42" and alike
 * ("Option types", "Option reply types", "Request types", "Structured reply types"). Of
 * what is no message: "lost", "nonsense", "skipped", "found", "tls", "forgotten",
 * "after-end" or "trailing". */
NBDSCOPE_API const char *nbdscope_message_name(const struct nbdscope_message *message);

/* Who sent it. */
NBDSCOPE_API enum nbdscope_side nbdscope_message_side(const struct nbdscope_message *message);

/* One line for people: "NBD_CMD_WRITE 4096 bytes at 0x1000, FUA, cookie 0x7". */
NBDSCOPE_API const char *nbdscope_message_summary(const struct nbdscope_message *message);

/* Where it begins: bytes of its direction before it. */
NBDSCOPE_API uint64_t nbdscope_message_offset(const struct nbdscope_message *message);

/* Bytes of its head, and of the payload behind that: data written or read, extents; of
 * what is no message, how many bytes it is about, 0 if that is not known. */
NBDSCOPE_API uint64_t nbdscope_message_head_length(const struct nbdscope_message *message);
NBDSCOPE_API uint64_t nbdscope_message_payload_length(const struct nbdscope_message *message);

/* Of a reply or chunk: the name of the command that it answers, by its cookie ("Request
 * message"); NULL: none is known. */
NBDSCOPE_API const char *nbdscope_message_answers(const struct nbdscope_message *message);

/* 1: inner lengths do not fit the message's own. */
NBDSCOPE_API int nbdscope_message_is_malformed(const struct nbdscope_message *message);
/* 1: a reply whose cookie no request in flight has. */
NBDSCOPE_API int nbdscope_message_is_unsolicited(const struct nbdscope_message *message);
/* 1: the last reply to its request (NBD_REPLY_FLAG_DONE, "Structured reply flags") or
 * option. */
NBDSCOPE_API int nbdscope_message_is_final(const struct nbdscope_message *message);

/* How many fields it has. They are numbered from 0, in the order on the wire; the bits of
 * a word of flags follow it. */
NBDSCOPE_API size_t nbdscope_message_fields(const struct nbdscope_message *message);

/* The first field of that name ("nbd.cmd.flags.fua") from number `from` on; -1: none. */
NBDSCOPE_API int nbdscope_message_find(const struct nbdscope_message *message, const char *name,
				       size_t from);

/* Of field `i`: its name; its value in words ("NBD_FLAG_HAS_FLAGS | bit 13"), or of a
 * string or bytes, "" ; its value as a number, or of a string or bytes, 0. Without such a
 * field: NULL, NULL, 0. */
NBDSCOPE_API const char *nbdscope_message_field_name(const struct nbdscope_message *message,
						     size_t i);
NBDSCOPE_API const char *nbdscope_message_field_text(const struct nbdscope_message *message,
						     size_t i);
NBDSCOPE_API uint64_t nbdscope_message_field_number(const struct nbdscope_message *message,
						    size_t i);

/* Of a field that is a string or bytes: those of the wire, of any value, and in *len how
 * many. The message's. NULL, and 0 in *len: another kind of field, or none. */
NBDSCOPE_API const void *nbdscope_message_field_bytes(const struct nbdscope_message *message,
						      size_t i, size_t *len);

#ifdef __cplusplus
}
#endif
#endif
