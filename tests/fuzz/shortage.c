/* SPDX-License-Identifier: GPL-2.0-or-later */
/* shortage.c - see shortage.h. */
#include "shortage.h"

#include <stdbool.h>
#include <stddef.h>

static unsigned every, count;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);

void shortage_begin(unsigned n)
{
	every = n;
	count = 0;
}

void shortage_end(void)
{
	every = 0;
}

static bool fails(void)
{
	return every && ++count % every == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}
