/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * replay.c - a main() for fuzz targets without libFuzzer.
 *
 * Runs the target once on each file named as an argument, and on each regular
 * file of each directory named (not of directories below it).  The input lies in
 * a block of exactly its size, so that a sanitizer sees the first byte read past
 * its end.
 *
 * Exit status: 0 if every file could be read and the target returned from each;
 * 2 if a file could not be read or none was named.  A target that fails ends the
 * program itself.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned long ran;

static int complain(const char *path)
{
	fprintf(stderr, "replay: %s: %s\n", path, strerror(errno));
	return -1;
}

static int run_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data;

	if (!file)
		return complain(path);
	data = malloc(size ? size : 1);
	if (!data) {
		fclose(file);
		return complain(path);
	}
	size = fread(data, 1, size, file);
	if (ferror(file)) {
		fclose(file);
		free(data);
		return complain(path);
	}
	fclose(file);
	if (getenv("REPLAY_VERBOSE"))
		fprintf(stderr, "replay: %s\n", path);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	ran++;
	return 0;
}

static int run_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int result = 0;

	if (!dir)
		return complain(path);
	while ((entry = readdir(dir))) {
		struct stat status;
		char *name;

		if (asprintf(&name, "%s/%s", path, entry->d_name) < 0) {
			result = complain(path);
			break;
		}
		if (stat(name, &status) < 0)
			result = complain(name);
		else if (S_ISREG(status.st_mode) && run_file(name, (size_t)status.st_size) < 0)
			result = -1;
		free(name);
	}
	closedir(dir);
	return result;
}

int main(int argc, char **argv)
{
	int result = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE|DIRECTORY...\n", argv[0]);
		return 2;
	}
	for (int i = 1; i < argc; i++) {
		struct stat status;

		if (stat(argv[i], &status) < 0)
			result = complain(argv[i]);
		else if (S_ISDIR(status.st_mode) ? run_directory(argv[i])
						 : run_file(argv[i], (size_t)status.st_size))
			result = -1;
	}
	printf("replay: %lu inputs\n", ran);
	return result ? 2 : 0;
}
