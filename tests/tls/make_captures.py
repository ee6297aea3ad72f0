#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes tests/tls/captures: real servers and clients inside TLS, and the same in clear.

    make_captures.py [DIRECTORY [NAME...]]

Needs root (tcpdump on lo), nbdkit, qemu-nbd, qemu-io, nbdsh, certtool, psktool, editcap. Of
each there is NAME.pcapng, with the keys inside of it, and NAME.clear.pcap, the same client at
the same server without TLS.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SCRIPT = """
b = bytes(range(256)) * 8
h.pwrite(b, 0); h.pwrite(b[::-1], 4096, nbd.CMD_FLAG_FUA)
h.flush()
assert h.pread(2048, 0) == b
h.zero(4096, 8192)
h.pread(4096, 6144)
h.trim(4096, 16384)
h.shutdown()
"""
QEMU_IO = ["write -P 7 0 2k", "write -f -P 8 4k 2k", "flush", "read -P 7 0 2k", "write -z 8k 4k",
           "read 6k 4k", "discard 16k 4k"]

V13, V12 = "NORMAL:-VERS-ALL:+VERS-TLS1.3", "NORMAL:-VERS-ALL:+VERS-TLS1.2"

# name, server, client, key, GnuTLS' priority string
CASES = [
    ("nbdkit-libnbd-psk-1.3", "nbdkit", "libnbd", "psk", V13),
    ("nbdkit-libnbd-x509-1.3", "nbdkit", "libnbd", "x509", V13),
    ("nbdkit-libnbd-psk-1.2", "nbdkit", "libnbd", "psk", V12),
    ("nbdkit-qemu-x509-1.2", "nbdkit", "qemu", "x509", V12),
    ("qemu-libnbd-x509-1.3", "qemu", "libnbd", "x509", V13),
    ("qemu-qemu-psk-1.3", "qemu", "qemu", "psk", V13),
    ("qemu-libnbd-x509-1.2", "qemu", "libnbd", "x509", V12),
] + [
    (f"qemu-qemu-{name}", "qemu", "qemu", "x509", version + ":-CIPHER-ALL:+" + ciphers)
    for name, version, ciphers in (
        ("aes-128-gcm-1.3", V13, "AES-128-GCM"), ("aes-128-ccm-1.3", V13, "AES-128-CCM"),
        ("aes-128-ccm-8-1.3", V13, "AES-128-CCM-8"), ("chacha20-1.3", V13, "CHACHA20-POLY1305"),
        ("aes-256-gcm-1.2", V12, "AES-256-GCM"), ("aes-256-ccm-8-1.2", V12, "AES-256-CCM-8"),
        ("chacha20-1.2", V12, "CHACHA20-POLY1305"),
        ("cbc-sha1-1.2", V12, "AES-128-CBC:-MAC-ALL:+SHA1"),
        ("cbc-sha256-1.2", V12, "AES-128-CBC:-MAC-ALL:+SHA256"),
        ("cbc-sha384-no-etm-1.2", V12, "AES-256-CBC:-MAC-ALL:+SHA384:%NO_ETM"))
]


def certificates(where):
    """An authority, and a server called localhost."""
    def certtool(*arguments, template=None):
        if template:
            (where / "template").write_text(template)
            arguments += ("--template", where / "template")
        subprocess.run(["certtool", *arguments], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    for name in ("ca", "server"):
        certtool("--generate-privkey", "--ecc", "--outfile", where / f"{name}-key.pem")
    certtool("--generate-self-signed", "--load-privkey", where / "ca-key.pem", "--outfile",
             where / "ca-cert.pem", template="cn = CA\nca\ncert_signing_key\n")
    certtool("--generate-certificate", "--load-privkey", where / "server-key.pem",
             "--load-ca-certificate", where / "ca-cert.pem", "--load-ca-privkey",
             where / "ca-key.pem", "--outfile", where / "server-cert.pem",
             template="cn = localhost\ndns_name = localhost\nip_address = 127.0.0.1\n"
                      "tls_www_server\nencryption_key\nsigning_key\n")


def wait_for(condition, what):
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise SystemExit(f"waited for {what} in vain")


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def credentials(key, where, end, priority):
    return (f"tls-creds-{key},id=tls0,endpoint={end},dir={where},priority={priority}"
            + (",verify-peer=no" if key == "x509" and end == "server" else "")
            + (",username=alice" if key == "psk" and end == "client" else ""))


def run(path, server, client, key, priority, where, log):
    """One session, captured at `path`. key None: in clear."""
    port, env = 10809, dict(os.environ, PATH="/usr/bin:/bin:/usr/sbin:/sbin")
    env.pop("SSLKEYLOGFILE", None)
    if key and server == "nbdkit" and priority == V12:
        # it takes GnuTLS' default: that is told what it is
        (where / "policy").write_text("[overrides]\ndisabled-version = tls1.3\n")
        env["GNUTLS_SYSTEM_PRIORITY_FILE"] = str(where / "policy")
    processes = []
    try:
        if server == "nbdkit":
            tls = {"psk": ["--tls=require", f"--tls-psk={where}/keys.psk"], None: [],
                   "x509": ["--tls=require", f"--tls-certificates={where}"]}[key]
            command = ["nbdkit", "-f", "-p", str(port), "-i", "127.0.0.1", *tls, "memory", "1M"]
        else:
            disk = where / "disk"
            disk.write_bytes(bytes(1 << 20))
            tls = (["--object", credentials(key, where, "server", priority), "--tls-creds", "tls0"]
                   if key else [])
            command = ["qemu-nbd", "-t", "-p", str(port), "-b", "127.0.0.1", "-x", "", "--discard=unmap",
                       *tls, "-f", "raw", str(disk)]
        processes.append(subprocess.Popen(command, env=env))
        wait_for(lambda: answers(port), server)
        time.sleep(0.3)
        raw = where / "raw.pcap"
        tcpdump = subprocess.Popen(["tcpdump", "-i", "lo", "-B", "65536", "-U", "-s0", "-Z", "root",
                                    "-w", raw, f"tcp port {port}"], stderr=subprocess.PIPE)
        processes.append(tcpdump)
        tcpdump.stderr.readline()
        time.sleep(0.5)
        if key:
            env["SSLKEYLOGFILE"] = str(log)
        if client == "libnbd":
            tls = ""
            if key:
                tls = "h.set_tls(2); "
                tls += (f"h.set_tls_username('alice'); h.set_tls_psk_file('{where}/keys.psk')"
                        if key == "psk" else f"h.set_tls_certificates('{where}')")
            subprocess.run(["nbdsh", "-c", tls or "pass", "-c",
                            f"h.connect_tcp('localhost' if {key == 'x509'} else '127.0.0.1', '{port}')",
                            "-c", SCRIPT], env=env, check=True)
        else:
            options = f"driver=nbd,host=localhost,port={port}" + (",tls-creds=tls0" if key else "")
            subprocess.run(["qemu-io", *(["--object", credentials(key, where, "client", priority)]
                                         if key else []), "-t", "none",
                            *[x for c in QEMU_IO for x in ("-c", c)], "--image-opts",
                            f"driver=raw,discard=unmap,file.{options.replace(',', ',file.')}"],
                           env=env, check=True, stdout=subprocess.DEVNULL)
        time.sleep(0.6)
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGINT if process is not processes[0] else signal.SIGTERM)
            process.wait()
    if key:
        subprocess.run(["editcap", "-F", "pcapng", f"--inject-secrets=tls,{log}", raw, path], check=True)
    else:
        shutil.copyfile(raw, path)


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "captures")
    out.mkdir(exist_ok=True)
    clear = {}
    for name, server, client, key, priority in CASES:
        if sys.argv[2:] and name not in sys.argv[2:]:
            continue
        with tempfile.TemporaryDirectory() as directory:
            where = pathlib.Path(directory)
            where.chmod(0o755)
            certificates(where)
            subprocess.run(["psktool", "-u", "alice", "-p", where / "keys.psk"], check=True,
                           stdout=subprocess.DEVNULL)
            if (server, client) not in clear:
                clear[server, client] = out / f"{server}-{client}.clear.pcap"
                run(clear[server, client], server, client, None, None, where, None)
            run(out / f"{name}.pcapng", server, client, key, priority, where, where / "keys.log")
            print(name, flush=True)


if __name__ == "__main__":
    main()
