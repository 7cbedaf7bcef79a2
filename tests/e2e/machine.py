# SPDX-License-Identifier: BSD-3-Clause
"""A machine that is thrown away: systemd as PID 1 over a copy of this system's
files, in namespaces and a control group of its own. What is done inside shows
nowhere else, and is gone afterwards."""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile

from harness import PATIENCE, SOURCE, need, until

# Nothing that has hardware or a timetable for its object is started.
MASKED = ("timers.target", "systemd-udevd.service", "systemd-udev-trigger.service",
          "systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
          "systemd-udev-settle.service", "systemd-modules-load.service",
          "systemd-sysctl.service", "systemd-timesyncd.service",
          "systemd-networkd.service", "sys-kernel-debug.mount",
          "sys-kernel-tracing.mount", "dev-hugepages.mount", "getty.target",
          "systemd-remount-fs.service", "systemd-hwdb-update.service")

# Outside: a control group of this machine's own, then namespaces.
OUTSIDE = """
set -e
mount -t cgroup2 cgroup2 "$1/cgroup"
mkdir "$1/cgroup/$2"
echo $$ > "$1/cgroup/$2/cgroup.procs"
exec unshare -m -p -f -n -u -i -C --kill-child sh -c "$3" machine "$1" "$4"
"""

# Inside: the files. $1 is the folder of the machine, $2 the checkout, which may
# lie in another file system than /.
INSIDE = """
set -e
mount --make-rprivate /
over() {
	mkdir -p "$1/layer/$2/upper" "$1/layer/$2/work"
	mount -t overlay overlay -o "lowerdir=$3,upperdir=$1/layer/$2/upper,workdir=$1/layer/$2/work" "$4"
}
mount -t tmpfs -o size=2g tmpfs "$1/layer"
over "$1" root / "$1/root"
for unit in $MASKED; do
	ln -sf /dev/null "$1/root/etc/systemd/system/$unit"
done
[ -s "$1/root/etc/machine-id" ] || echo 0123456789abcdef0123456789abcdef > "$1/root/etc/machine-id"
echo machine > "$1/root/etc/hostname"
cd "$1/root"
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p "./$2"
over "$1" source "$2" "./$2"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for node in null zero full random urandom tty; do
	: > dev/$node
	mount --bind /dev/$node dev/$node
done
: > dev/console
mount --bind "$1/console" dev/console
ip link set lo up
exec env -i container=machine PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	chroot . /lib/systemd/systemd --system --unit=basic.target
"""

AFTER = """
mount -t cgroup2 cgroup2 "$1/cgroup"
find "$1/cgroup/$2" -depth -type d -exec rmdir {} +
"""


class Machine:
    """Boots when it is made; off() throws it away."""

    def __init__(self):
        need("unshare", "nsenter", "setpriv", "ip")
        if not os.path.exists("/lib/systemd/systemd"):
            need("systemd")
        self.folder = tempfile.mkdtemp(prefix="pcapd-machine-")
        self.name = os.path.basename(self.folder)
        for name in ("cgroup", "layer", "root"):
            os.mkdir(os.path.join(self.folder, name))
        self.console = os.path.join(self.folder, "console")
        with open(self.console, "wb") as console:
            self.outer = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "sh", "-c",
                 OUTSIDE, "machine", self.folder, self.name, INSIDE,
                 os.path.realpath(SOURCE)],
                env=dict(os.environ, MASKED=" ".join(MASKED)),
                stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        atexit.register(self.off)
        self.init = until(self.find_init, "the machine's first process")
        until(self.is_up, "the machine to boot")

    def find_init(self):
        if self.outer.poll() is not None:
            raise AssertionError("the machine does not boot: " + self.said())
        path = "/proc/%d/task/%d/children" % (self.outer.pid, self.outer.pid)
        with open(path) as file:
            children = file.read().split()
        for child in children:
            try:
                if (os.readlink("/proc/%s/ns/pid" % child) !=
                        os.readlink("/proc/self/ns/pid")):
                    return int(child)
            except OSError:
                pass  # it has ended
        return None

    def is_up(self):
        if self.outer.poll() is not None:
            raise AssertionError("the machine ended: " + self.said())
        done = subprocess.run(self.inside("systemctl", "is-system-running"),
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        return done.stdout.strip() in (b"running", b"degraded")

    def said(self):
        with open(self.console, errors="replace") as file:
            return file.read()

    def inside(self, *command):
        return ["nsenter", "-t", str(self.init), "-m", "-u", "-i", "-n", "-p",
                "-C", "-r", "-w", "--", "env", "-i",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                "/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"] + list(command)

    def run(self, script, status=0, user=None, folder="~", stdin=b""):
        """What a shell there says to both of its outputs; as root, or as a
        user who logs in anew."""
        shell = ["sh", "-ec", "cd %s\n%s" % (folder, script)]
        if user:
            shell = ["setpriv", "--reuid", user, "--regid", user,
                     "--init-groups", "env", "HOME=/home/" + user] + shell
        command = self.inside(*shell)
        done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=4 * PATIENCE)
        text = done.stdout.decode(errors="replace")
        if status is not None and done.returncode != status:
            raise AssertionError("'%s': exit code %d, not %d: %s\n%s" % (
                script, done.returncode, status, text, self.journal()))
        return text

    def journal(self, unit="pcapd"):
        done = subprocess.run(
            self.inside("journalctl", "--no-pager", "-o", "cat", "-n", "60",
                        "-u", unit), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        return done.stdout.decode(errors="replace")

    def off(self):
        atexit.unregister(self.off)
        if self.outer.poll() is None:
            os.kill(self.outer.pid, signal.SIGKILL)
        self.outer.wait()
        # Its processes end with the first of them; groups are empty then.
        until(self.removed, "the end of the machine")
        shutil.rmtree(self.folder, ignore_errors=True)

    def removed(self):
        done = subprocess.run(["unshare", "-m", "sh", "-c", AFTER, "machine",
                               self.folder, self.name],
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        return done.returncode == 0 or b"No such file" in done.stdout
