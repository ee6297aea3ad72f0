/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * privileges.c - giving up what only opening an interface needs. See
 * privileges.h.
 */
#include "privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Whom root becomes if nobody says so, in this order. */
static const char *const users[] = {"tcpdump", "nobody"};

bool nbds_privileges_borrowed(void)
{
	return getuid() != geteuid() || getgid() != getegid();
}

int nbds_privileges_target(const char *user, uid_t *uid, gid_t *gid, char *err, size_t errsize)
{
	const struct passwd *entry = NULL;

	if (geteuid() != 0) {
		/* Another user's rights, or another group's: the own ones again. */
		*uid = getuid();
		*gid = getgid();
		return nbds_privileges_borrowed();
	}
	if (getuid() != 0) {
		*uid = getuid();
		*gid = getgid();
		return 1;
	}
	if (user) {
		entry = getpwnam(user);
		if (!entry) {
			snprintf(err, errsize, "there is no user \"%s\" to become", user);
			return -1;
		}
		if (entry->pw_uid == 0)
			return 0;
	}
	for (size_t i = 0; !entry && i < sizeof(users) / sizeof(users[0]); i++)
		entry = getpwnam(users[i]);
	if (!entry) {
		snprintf(err, errsize,
			 "there is no user \"tcpdump\" or \"nobody\" to become instead of root");
		return -1;
	}
	*uid = entry->pw_uid;
	*gid = entry->pw_gid;
	return 1;
}

static int become(uid_t uid, gid_t gid, char *err, size_t errsize)
{
	/* Only root may change the list of groups, and only its list gives much. */
	if ((geteuid() == 0 && setgroups(0, NULL) < 0) || setresgid(gid, gid, gid) < 0 ||
	    setresuid(uid, uid, uid) < 0) {
		snprintf(err, errsize, "cannot become user %ld instead of root: %s", (long)uid,
			 strerror(errno));
		return -1;
	}
	return 0;
}

/* No capability, also none that an executed program would gain. */
static int empty(char *err, size_t errsize)
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
		snprintf(err, errsize, "cannot give up the capabilities of this process: %s",
			 strerror(errno));
		return -1;
	}
	/* An inheritable or ambient one may come from the parent. */
	if (capng_get_caps_process() < 0 ||
	    capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE) {
		snprintf(err, errsize, "giving up privileges had no effect");
		return -1;
	}
	return 0;
}

/* The bounding set first, as that needs a capability itself; without that one it does
 * not matter if it fails, since nothing can be gained any more. */
static void bound(void)
{
	int bounded;

	capng_clear(CAPNG_SELECT_BOTH);
	bounded = capng_apply(CAPNG_SELECT_BOUNDS);
	(void)bounded;
}

int nbds_privileges_two(bool split, uid_t uid, gid_t gid, char *err, size_t errsize)
{
	bound();
	if (split && (setgroups(0, NULL) < 0 || setresgid((gid_t)-1, (gid_t)-1, gid) < 0 ||
		      setresuid((uid_t)-1, (uid_t)-1, uid) < 0)) {
		snprintf(err, errsize, "cannot become user %ld: %s", (long)uid, strerror(errno));
		return -1;
	}
	return empty(err, errsize);
}

int nbds_privileges_become(uid_t uid, gid_t gid, char *err, size_t errsize)
{
	bound();
	return become(uid, gid, err, errsize) < 0 ? -1 : empty(err, errsize);
}

int nbds_privileges_drop(const char *user, char *err, size_t errsize)
{
	uid_t uid = getuid();
	gid_t gid = getgid();
	int change = nbds_privileges_target(user, &uid, &gid, err, errsize);

	if (change < 0)
		return -1;
	bound();
	if ((change && become(uid, gid, err, errsize) < 0) || empty(err, errsize) < 0)
		return -1;
	if (change && uid != 0 && setresuid(0, 0, 0) == 0) {
		snprintf(err, errsize, "giving up privileges had no effect");
		return -1;
	}
	return 0;
}
