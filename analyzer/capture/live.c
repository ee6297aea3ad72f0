/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * live.c - packets of a network interface. See live.h.
 *
 * The descriptor does not block; waiting is done here, with poll().  libpcap's
 * own wait would, with the ring of today's Linux, neither keep its time-out
 * without traffic nor end with a signal.
 *
 * What the interface itself dropped the library reads from files that it opens each
 * time, which a confined program may not (sandbox.h): here they stay open.
 */
#include "live.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { NS_PER_SECOND = 1000000000, IFDROPS = 2 };

/* Packets that found no room in the card, and in its queue. */
static const char *const ifdrop_names[IFDROPS] = {"rx_missed_errors", "rx_fifo_errors"};

struct nbds_live {
	pcap_t *pcap;
	int fd;
	int linktype;
	int64_t time_scale; /* ns per unit of the time stamp's fraction */
	char device[64];
	/* The library's counters have 32 bits; these have more. */
	uint32_t last_osdrop;
	uint64_t osdrop;
	struct {
		int fd;         /* -1: the system does not count that */
		uint64_t last;  /* what it said last */
		uint64_t count; /* since the capture began */
	} ifdrops[IFDROPS];
	char error[PCAP_ERRBUF_SIZE + 32];
};

static void explain_permission(const char *device, char *err, size_t errsize)
{
	char program[256];
	ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);

	program[length > 0 ? length : 0] = 0;
	snprintf(err, errsize,
		 "no permission to capture on %s: run as root, or give the program the right "
		 "once with: sudo setcap cap_net_raw+ep %s",
		 device, length > 0 ? program : "PROGRAM");
}

static void explain_device(const char *device, char *err, size_t errsize)
{
	struct if_nameindex *all = if_nameindex();
	int length = snprintf(err, errsize, "there is no interface \"%s\"; there are: any", device);

	for (struct if_nameindex *i = all; i && i->if_index; i++) {
		if (length < 0 || (size_t)length >= errsize)
			break;
		length += snprintf(err + length, errsize - (size_t)length, ", %s", i->if_name);
	}
	if (all)
		if_freenameindex(all);
}

static void explain_activation(pcap_t *pcap, int status, const char *device, char *err,
			       size_t errsize)
{
	const char *detail = pcap_geterr(pcap);

	switch (status) {
	case PCAP_ERROR_PERM_DENIED:
	case PCAP_ERROR_PROMISC_PERM_DENIED:
		explain_permission(device, err, errsize);
		break;
	case PCAP_ERROR_NO_SUCH_DEVICE:
		explain_device(device, err, errsize);
		break;
	case PCAP_ERROR_IFACE_NOT_UP:
		snprintf(err, errsize, "interface %s is not up", device);
		break;
	default:
		snprintf(err, errsize, "cannot capture on %s: %s%s%s", device,
			 pcap_statustostr(status), detail[0] ? ": " : "", detail);
	}
}

static int set_filter(pcap_t *pcap, const char *filter, char *err, size_t errsize)
{
	struct bpf_program program;
	int status;

	if (pcap_compile(pcap, &program, filter, 1, PCAP_NETMASK_UNKNOWN) < 0) {
		snprintf(err, errsize, "the filter \"%s\" is not valid: %s", filter,
			 pcap_geterr(pcap));
		return -1;
	}
	status = pcap_setfilter(pcap, &program);
	pcap_freecode(&program);
	if (status < 0)
		snprintf(err, errsize, "cannot use the filter \"%s\": %s", filter,
			 pcap_geterr(pcap));
	return status < 0 ? -1 : 0;
}

static bool read_number(int fd, uint64_t *number)
{
	char text[32];
	ssize_t len = pread(fd, text, sizeof(text) - 1, 0);

	if (len <= 0)
		return false;
	text[len] = '\0';
	*number = strtoull(text, NULL, 10);
	return true;
}

static void open_ifdrops(struct nbds_live *live)
{
	for (int i = 0; i < IFDROPS; i++) {
		char path[128];

		/* A device is no path. */
		live->ifdrops[i].fd = -1;
		if (strchr(live->device, '/') ||
		    snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s", live->device,
			     ifdrop_names[i]) >= (int)sizeof(path))
			continue;
		live->ifdrops[i].fd = open(path, O_RDONLY | O_CLOEXEC);
		if (live->ifdrops[i].fd >= 0 &&
		    !read_number(live->ifdrops[i].fd, &live->ifdrops[i].last)) {
			close(live->ifdrops[i].fd);
			live->ifdrops[i].fd = -1;
		}
	}
}

static uint64_t count_ifdrops(struct nbds_live *live)
{
	uint64_t sum = 0, now;

	for (int i = 0; i < IFDROPS; i++) {
		/* One that goes down, and back, counts from 0 with some drivers. */
		if (live->ifdrops[i].fd >= 0 && read_number(live->ifdrops[i].fd, &now)) {
			if (now >= live->ifdrops[i].last)
				live->ifdrops[i].count += now - live->ifdrops[i].last;
			live->ifdrops[i].last = now;
		}
		sum += live->ifdrops[i].count;
	}
	return sum;
}

static int configure(pcap_t *pcap, int snaplen, bool promiscuous, int buffer_size)
{
	if (pcap_set_snaplen(pcap, snaplen) || pcap_set_promisc(pcap, promiscuous) ||
	    pcap_set_timeout(pcap, NBDS_LIVE_WAIT_MS) || pcap_set_buffer_size(pcap, buffer_size))
		return -1;
	/* Where there are no nanoseconds, microseconds will do: which it is, is asked. */
	if (pcap_set_tstamp_precision(pcap, PCAP_TSTAMP_PRECISION_NANO) == PCAP_ERROR_ACTIVATED)
		return -1;
	return 0;
}

int nbds_live_buffer(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	int64_t share = pages > 0 && size > 0 ? (int64_t)pages * size / 64 : 0;

	if (share < 32 << 20)
		return 32 << 20;
	return share > 256 << 20 ? 256 << 20 : (int)share;
}

/* Before others, and still leaving them something. */
#define HURRY (-10)

void nbds_live_hurry(void)
{
	errno = 0;
	if (getpriority(PRIO_PROCESS, 0) == 0 && !errno)
		setpriority(PRIO_PROCESS, 0, HURRY);
}

void nbds_live_relax(void)
{
	if (getpriority(PRIO_PROCESS, 0) == HURRY)
		setpriority(PRIO_PROCESS, 0, 0);
}

int nbds_live_hurry_session(void)
{
	char text[64];
	const char *nice;
	ssize_t len;
	int fd;

	errno = 0;
	if (getpriority(PRIO_PROCESS, 0) != HURRY || errno)
		return -1;
	fd = open("/proc/self/autogroup", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	/* "/autogroup-18894 nice 0" */
	len = read(fd, text, sizeof(text) - 1);
	text[len > 0 ? len : 0] = '\0';
	nice = strstr(text, " nice ");
	len = snprintf(text, sizeof(text), "%d", HURRY);
	if (nice && strtol(nice + 6, NULL, 10) == 0 && write(fd, text, (size_t)len) == len)
		return fd;
	close(fd);
	return -1;
}

void nbds_live_relax_session(int session)
{
	if (session < 0)
		return;
	/* Without rights it may be done ten times a second, by all together. */
	for (int i = 0; i < 3 && write(session, "0", 1) < 0 && errno == EAGAIN; i++)
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_SECOND / 8}, NULL);
	close(session);
}

struct nbds_live *nbds_live_open(const char *device, const char *filter, uint32_t snaplen,
				 int buffer_size, char *err, size_t errsize)
{
	bool any = !strcmp(device, "any");
	char detail[PCAP_ERRBUF_SIZE] = "";
	struct nbds_live *live = calloc(1, sizeof(*live));
	int status;

	if (!live) {
		snprintf(err, errsize, "not enough memory");
		return NULL;
	}
	live->pcap = pcap_create(device, detail);
	if (!live->pcap) {
		snprintf(err, errsize, "cannot capture on %s: %s", device, detail);
		free(live);
		return NULL;
	}
	snprintf(live->device, sizeof(live->device), "%s", device);
	open_ifdrops(live);
	if (configure(live->pcap, snaplen ? (int)snaplen : 262144, !any && strcmp(device, "lo"),
		      buffer_size) < 0) {
		snprintf(err, errsize, "cannot capture on %s: the settings were refused", device);
		goto failed;
	}
	status = pcap_activate(live->pcap);
	if (status < 0) {
		explain_activation(live->pcap, status, device, err, errsize);
		goto failed;
	}
	/* Of all interfaces at once, the newer header tells which one it was.  An old
	 * kernel or library has the other only: which it is, is asked. */
	if (any && pcap_set_datalink(live->pcap, DLT_LINUX_SLL2) < 0)
		live->linktype = DLT_LINUX_SLL;
	if (filter && *filter && set_filter(live->pcap, filter, err, errsize) < 0)
		goto failed;
	if (pcap_setnonblock(live->pcap, 1, detail) < 0) {
		snprintf(err, errsize, "cannot capture on %s: %s", device, detail);
		goto failed;
	}
	live->fd = pcap_get_selectable_fd(live->pcap);
	live->linktype = pcap_datalink(live->pcap);
	live->time_scale =
		pcap_get_tstamp_precision(live->pcap) == PCAP_TSTAMP_PRECISION_NANO ? 1 : 1000;
	return live;

failed:
	nbds_live_close(live);
	return NULL;
}

void nbds_live_close(struct nbds_live *live)
{
	if (!live)
		return;
	pcap_close(live->pcap);
	for (int i = 0; i < IFDROPS; i++)
		if (live->ifdrops[i].fd >= 0)
			close(live->ifdrops[i].fd);
	free(live);
}

static void describe(const struct nbds_live *live, const struct pcap_pkthdr *head,
		     const u_char *data, struct nbds_packet *p)
{
	p->time = (int64_t)head->ts.tv_sec * NS_PER_SECOND + head->ts.tv_usec * live->time_scale;
	p->caplen = head->caplen;
	p->len = head->len;
	p->interface = 0;
	p->linktype = live->linktype;
	p->data = data;
}

static int failed(struct nbds_live *live)
{
	snprintf(live->error, sizeof(live->error), "capture on %s failed: %s", live->device,
		 pcap_geterr(live->pcap));
	return -1;
}

/* Waits for packets. False: a signal came. */
static bool wait_for(struct nbds_live *live)
{
	struct pollfd wait = {.fd = live->fd, .events = POLLIN};

	return poll(&wait, 1, NBDS_LIVE_WAIT_MS) >= 0;
}

static int take(struct nbds_live *live, struct nbds_packet *p)
{
	struct pcap_pkthdr *head;
	const u_char *data;
	int status = pcap_next_ex(live->pcap, &head, &data);

	if (status < 0)
		return failed(live);
	if (status > 0)
		describe(live, head, data, p);
	return status;
}

int nbds_live_next(struct nbds_live *live, struct nbds_packet *p)
{
	int status = take(live, p);

	if (status || !wait_for(live))
		return status;
	return take(live, p);
}

struct taking {
	struct nbds_live *live;
	void (*each)(void *ctx, struct nbds_packet *p);
	void *ctx;
};

static void on_packet(u_char *user, const struct pcap_pkthdr *head, const u_char *data)
{
	const struct taking *t = (const struct taking *)user;
	struct nbds_packet p = {0};

	describe(t->live, head, data, &p);
	t->each(t->ctx, &p);
}

static int take_each(struct taking *t, int most)
{
	int status = pcap_dispatch(t->live->pcap, most, on_packet, (u_char *)t);

	return status < 0 ? failed(t->live) : status;
}

int nbds_live_each(struct nbds_live *live, int most, void (*each)(void *ctx, struct nbds_packet *p),
		   void *ctx)
{
	struct taking t = {live, each, ctx};
	int status = take_each(&t, most);

	if (status || !wait_for(live))
		return status;
	return take_each(&t, most);
}

const char *nbds_live_error(const struct nbds_live *live)
{
	return live->error;
}

int nbds_live_linktype(const struct nbds_live *live)
{
	return live->linktype;
}

uint32_t nbds_live_snaplen(const struct nbds_live *live)
{
	return (uint32_t)pcap_snapshot(live->pcap);
}

const char *nbds_live_device(const struct nbds_live *live)
{
	return live->device;
}

bool nbds_live_drops(struct nbds_live *live, uint64_t *ifdrop, uint64_t *osdrop)
{
	struct pcap_stat stat = {0};
	bool known = pcap_stats(live->pcap, &stat) == 0;

	if (known) {
		live->osdrop += (uint32_t)(stat.ps_drop - live->last_osdrop);
		live->last_osdrop = stat.ps_drop;
	}
	*ifdrop = count_ifdrops(live);
	*osdrop = live->osdrop;
	return known;
}

static void print_address(FILE *out, const struct sockaddr *address)
{
	char text[INET6_ADDRSTRLEN];
	const void *at;

	if (address->sa_family == AF_INET)
		at = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
	else if (address->sa_family == AF_INET6)
		at = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
	else
		return;
	if (inet_ntop(address->sa_family, at, text, sizeof(text)))
		fprintf(out, " %s", text);
}

bool nbds_live_list(FILE *out, char *err, size_t errsize)
{
	char detail[PCAP_ERRBUF_SIZE] = "";
	pcap_if_t *all = NULL;

	if (pcap_findalldevs(&all, detail) < 0) {
		snprintf(err, errsize, "cannot list the interfaces: %s", detail);
		return false;
	}
	for (const pcap_if_t *i = all; i; i = i->next) {
		fprintf(out, "%-15s %-5s", i->name, i->flags & PCAP_IF_UP ? "up" : "down");
		for (const pcap_addr_t *a = i->addresses; a; a = a->next)
			if (a->addr)
				print_address(out, a->addr);
		if (i->description)
			fprintf(out, "  (%s)", i->description);
		fputc('\n', out);
	}
	if (!all)
		fputs("none that you may capture on\n", out);
	pcap_freealldevs(all);
	return true;
}
