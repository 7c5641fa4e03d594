//! What a confined module reaches by name: files, ports, names of hosts.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;

/// Where distributions keep the roots of trust in one file.
const ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Prints `name ok` or `name ERRNO`. Somebody listens on `open` and on `closed`; `other` is another module's file.
pub(super) fn run(open: u16, closed: u16, other: &str, out: &mut impl Write) -> io::Result<()> {
    let mut tell = |name: &str, answer: io::Result<()>| match answer {
        Ok(()) => writeln!(out, "{name} ok"),
        Err(error) => writeln!(out, "{name} {:?}", Errno::from_raw(error.raw_os_error().unwrap_or(0))),
    };
    tell("own_files", own_files())?;
    tell("execute_own_file", execute_own_file())?;
    tell("null", fs::write("/dev/null", "x"))?;
    tell("random", File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut [0; 8])))?;
    tell("other_file", fs::read(other).map(drop))?;
    tell("write_other_file", fs::OpenOptions::new().append(true).open(other).map(drop))?;
    tell("passwd", fs::read("/etc/passwd").map(drop))?;
    tell("list_etc", fs::read_dir("/etc").map(drop))?;
    tell("list_root", fs::read_dir("/").map(drop))?;
    tell("proc", fs::read("/proc/self/status").map(drop))?;
    tell("temporary", fs::write("/tmp/blvm-sandbox-probe", "x"))?;
    tell("shared_memory", fs::write("/dev/shm/blvm-sandbox-probe", "x"))?;
    tell("shell", Err(Command::new("/bin/sh").args(["-c", "exit"]).exec()))?;
    if let Some(roots) = ROOTS.iter().find(|path| fs::exists(path).unwrap_or(false)) {
        tell("roots_of_trust", fs::read(roots).map(drop))?;
    }
    tell("resolver", File::open("/etc/resolv.conf").map(drop))?;
    tell("localhost", ("localhost", 1).to_socket_addrs().map(drop).map_err(|_| Errno::EHOSTUNREACH.into()))?;
    let connect = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map(drop);
    tell("connect_open", connect(open))?;
    tell("connect_closed", connect(closed))?;
    // Somebody has the port already, which is asked last.
    let bind = |port| match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(()),
        answer => answer.map(drop),
    };
    tell("bind_open", bind(open))?;
    tell("bind_closed", bind(closed))?;
    tell("udp", UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop))
}

fn own_files() -> io::Result<()> {
    fs::create_dir("directory")?;
    fs::write("directory/file", "bytes")?;
    fs::rename("directory/file", "file")?;
    if fs::read("file")? != b"bytes" {
        return Err(Errno::EIO.into());
    }
    File::options().write(true).open("file")?.set_len(1)?;
    fs::remove_file("file")?;
    fs::remove_dir("directory")
}

fn execute_own_file() -> io::Result<()> {
    fs::write("program", "\x7fELF")?;
    fs::set_permissions("program", fs::Permissions::from_mode(0o700))?;
    Err(Command::new("./program").exec())
}
