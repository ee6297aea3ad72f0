# SPDX-License-Identifier: GPL-2.0-or-later
"""What a connection negotiated, against nbdinfo's and libnbd's own words."""

import json
import unittest

import peers  # first: it ends the program where live tests cannot be run
import nbd
import client

# nbdinfo's words for what the transmission flags say.
INFO_FLAGS = {
    "is_read_only": "NBD_FLAG_READ_ONLY",
    "is_rotational": "NBD_FLAG_ROTATIONAL",
    "can_cache": "NBD_FLAG_SEND_CACHE",
    "can_df": "NBD_FLAG_SEND_DF",
    "can_fast_zero": "NBD_FLAG_SEND_FAST_ZERO",
    "can_flush": "NBD_FLAG_SEND_FLUSH",
    "can_fua": "NBD_FLAG_SEND_FUA",
    "can_multi_conn": "NBD_FLAG_CAN_MULTI_CONN",
    "can_trim": "NBD_FLAG_SEND_TRIM",
    "can_zero": "NBD_FLAG_SEND_WRITE_ZEROES",
}


class Handshake(peers.LiveTest):
    def nbdinfo(self, uri):
        with self.captured() as path:
            said = json.loads(self.run_command("nbdinfo", "--json", uri))
        return said, self.audit(path)

    @staticmethod
    def options(connection):
        return [(option["option"], option["replies"]) for option in connection["options"]]

    def compare(self, said, report, size=None):
        # nbdinfo's last connection is the one that it used the export on.
        connection = report.connections[-1]
        (export,) = said["exports"]
        self.assertEqual(connection["handshake"], said["protocol"])
        self.assertEqual(connection["tls"], said["TLS"])
        self.assertEqual(connection["replies"],
                         "structured" if said["structured"] else "simple")
        self.assertEqual(connection["export"], export["export-name"])
        self.assertEqual(connection["size"], export["export-size"] if size is None else size)
        flags = connection["transmission_flags"]
        self.assertIn("NBD_FLAG_HAS_FLAGS", flags)
        for word, flag in INFO_FLAGS.items():
            with self.subTest(word):
                self.assertEqual(flag in flags, export[word])
        if "block_size_minimum" in export:
            self.assertEqual(connection["block_size"], {
                "minimum": export["block_size_minimum"],
                "preferred": export["block_size_preferred"],
                "maximum": export["block_size_maximum"]})
        else:
            self.assertNotIn("block_size", connection)
        # The contexts that nbdinfo names are those listed to it, one reply each.
        listed = max((option["replies"].count("NBD_REP_META_CONTEXT")
                      for seen in report.connections for option in seen["options"]
                      if option["option"] == "NBD_OPT_LIST_META_CONTEXT"), default=0)
        self.assertEqual(listed, len(export.get("contexts", [])))
        self.assert_honest(report)

    def test_nbdkit_memory(self):
        self.nbdkit("memory", "1M")
        self.compare(*self.nbdinfo(self.uri + "/"))

    def test_nbdkit_read_only(self):
        self.nbdkit("-r", "memory", "1M")
        self.compare(*self.nbdinfo(self.uri + "/"))

    def test_nbdkit_block_sizes(self):
        self.nbdkit("--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=512",
                    "blocksize-preferred=8192", "blocksize-maximum=1M")
        self.compare(*self.nbdinfo(self.uri + "/"))

    def test_qemu_nbd(self):
        self.qemu_nbd("-f", "raw", "-x", "disk", self.image(1 << 20))
        self.compare(*self.nbdinfo(self.uri + "/disk"))

    def test_qemu_nbd_shared_read_only(self):
        self.qemu_nbd("-r", "-e", "4", "-f", "raw", "-x", "disk", self.image(1 << 20))
        self.compare(*self.nbdinfo(self.uri + "/disk"))

    def test_qemu_nbd_bitmap(self):
        self.run_command("qemu-img", "create", "-f", "qcow2", "disk.qcow2", "1M")
        self.run_command("qemu-img", "bitmap", "--add", "-f", "qcow2", "disk.qcow2", "b0")
        self.qemu_nbd("-r", "-f", "qcow2", "-x", "disk", "-B", "b0", "disk.qcow2")
        self.compare(*self.nbdinfo(self.uri + "/disk"))

    def test_nbd_server(self):
        self.nbd_server(self.image(1 << 20), "flush = true", "fua = true", "trim = true")
        # To NBD_OPT_INFO this server says size 0, which nbdinfo then believes; what
        # NBD_OPT_GO says is what nbdinfo says when it asks for the size alone.
        self.broken = ("info-and-go-differ",)
        said, report = self.nbdinfo(self.uri + "/disk")
        size = int(self.run_command("nbdinfo", "--size", self.uri + "/disk"))
        self.assertEqual(size, 1 << 20)
        self.compare(said, report, size)

    def test_nbd_server_read_only(self):
        self.nbd_server(self.image(1 << 20), "readonly = true")
        self.broken = ("info-and-go-differ",)
        said, report = self.nbdinfo(self.uri + "/disk")
        self.compare(said, report, int(self.run_command("nbdinfo", "--size", self.uri + "/disk")))

    def test_contexts(self):
        self.run_command("qemu-img", "create", "-f", "qcow2", "disk.qcow2", "1M")
        self.run_command("qemu-img", "bitmap", "--add", "-f", "qcow2", "disk.qcow2", "b0")
        self.qemu_nbd("-r", "-A", "-f", "qcow2", "-x", "disk", "-B", "b0", "disk.qcow2")
        wanted = ["base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0",
                  "no:such-context"]
        with self.captured() as path:
            h = client.connect(self.uri + "/disk", contexts=wanted)
            granted = [name for name in wanted if h.can_meta_context(name)]
            h.shutdown()
        self.assertEqual(len(granted), 3)
        report = self.audit(path)
        (connection,) = report.connections
        self.assertEqual(sorted(context["name"] for context in connection["contexts"]),
                         sorted(granted))
        ids = [context["id"] for context in connection["contexts"]]
        self.assertEqual(len(set(ids)), len(ids))

    def test_oldstyle(self):
        self.nbdkit("--oldstyle", "memory", "1M")
        with self.captured() as path:
            h = client.connect(self.uri)
            self.assertEqual(h.get_protocol(), "oldstyle")
            size = h.get_size()
            h.shutdown()
        (connection,) = self.audit(path).connections
        self.assertEqual(connection["handshake"], "oldstyle")
        self.assertEqual(connection["size"], size)
        self.assertEqual(connection["end"], "disconnect")

    def test_export_name_option(self):
        self.nbdkit("memory", "1M")
        for flags in (0, nbd.HANDSHAKE_FLAG_NO_ZEROES):
            with self.subTest(flags=flags), self.captured("%d.pcap" % flags) as path:
                h = client.handle()
                h.set_handshake_flags(flags)
                h.connect_uri(self.uri + "/anything")
                size = h.get_size()
                h.shutdown()
            (connection,) = self.audit(path).connections
            self.assertEqual([option["option"] for option in connection["options"]],
                             ["NBD_OPT_EXPORT_NAME"])
            self.assertEqual("NBD_FLAG_C_NO_ZEROES" in connection["client_flags"], bool(flags))
            self.assertEqual(connection["export"], "anything")
            self.assertEqual(connection["size"], size)
            self.assertEqual(connection["commands"]["NBD_CMD_DISC"]["count"], 1)

    def test_starttls(self):
        (self.work / "keys.psk").write_text("alice:00112233445566778899aabbccddeeff\n")
        self.nbdkit("--tls=require", "--tls-psk=%s" % (self.work / "keys.psk"), "memory", "1M")
        with self.captured() as path:
            h = client.handle()
            h.set_tls(nbd.TLS_REQUIRE)
            h.set_tls_username("alice")
            h.set_tls_psk_file(str(self.work / "keys.psk"))
            h.connect_uri("nbds" + self.uri[3:])
            h.pwrite(client.pattern("secret", 4096), 0)
            h.shutdown()
        report = self.audit(path, status=(3,))
        (connection,) = report.connections
        self.assertIs(connection["tls"], True)
        self.assertEqual(self.options(connection), [("NBD_OPT_STARTTLS", ["NBD_REP_ACK"])])
        # Nothing is guessed of what cannot be read.
        self.assertEqual(report.counts(), {})
        self.assertNotIn("size", connection)
        self.assert_honest(report)

    def test_refused(self):
        self.qemu_nbd("-f", "raw", "-x", "disk", self.image(1 << 20))
        with self.captured() as path:
            client.failing(client.connect, self.uri + "/no-such-export")
        (connection,) = self.audit(path).connections
        replies = [reply for option in connection["options"] for reply in option["replies"]]
        self.assertIn("NBD_REP_ERR_UNKNOWN", replies)
        self.assertEqual(connection["commands"], {})

    def test_nbd_client_list(self):
        self.nbd_server(self.image(1 << 20))
        with self.captured() as path:
            said = self.run_command("nbd-client", "-l", "127.0.0.1", self.port, check=False)
        self.assertIn("disk", said.split())
        report = self.audit(path)
        (connection,) = report.connections
        # It answers a list with one NBD_REP_SERVER for each export, and nbd-server
        # never answers the abort.
        self.assertEqual(self.options(connection), [
            ("NBD_OPT_LIST", ["NBD_REP_SERVER", "NBD_REP_ACK"]),
            ("NBD_OPT_ABORT", [])])
        self.assertEqual(connection["end"], "abort")
        self.assert_honest(report)


if __name__ == "__main__":
    unittest.main(verbosity=2)
