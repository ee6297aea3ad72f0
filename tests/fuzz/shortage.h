/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * shortage.h - memory that is not always there.
 *
 * The linker puts the functions of shortage.c in the place of malloc(), calloc() and
 * realloc() of all that a fuzz target links statically.  Between shortage_begin() and
 * shortage_end() every `every`-th of them fails.
 */
#ifndef NBDSCOPE_TESTS_FUZZ_SHORTAGE_H
#define NBDSCOPE_TESTS_FUZZ_SHORTAGE_H

/* `every` > 0. */
void shortage_begin(unsigned every);
void shortage_end(void);

#endif
