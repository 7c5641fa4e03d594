//! What lies outside the module by name: files of the host, of the node and of other modules; hosts and ports.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::RawFd;

use nix::errno::Errno;

use crate::kernel::{Answer, call};
use crate::report::{Layer, Report, Setting};
use crate::segment::{close, open};

/// Files that others own or everybody may read. Paths are seen from the module's own directory.
pub(crate) fn open_files(report: &mut Report) -> io::Result<()> {
    let all_may: [(&str, &str, i32); 5] = [
        ("read", "/etc/passwd", libc::O_RDONLY),
        ("list", "/etc", libc::O_RDONLY | libc::O_DIRECTORY),
        ("list", "/", libc::O_RDONLY | libc::O_DIRECTORY),
        ("write in", "/tmp", libc::O_RDWR | libc::O_TMPFILE),
        ("read", "/proc/cpuinfo", libc::O_RDONLY),
    ];
    for (verb, path, flags) in all_may {
        let answer = open(path, flags);
        let attempt = format!("outside: {verb} {path}");
        report.refused_where_there_is("landlock", &attempt, Layer::Landlock, &[Errno::EACCES], &answer)?;
        close_if_open(&answer);
    }
    // A user of its own has no way there; under the node's own user only Landlock is in the way.
    let layer = if report.setting == Setting::OwnUid { Layer::Uid } else { Layer::Landlock };
    let others: [(&str, &str, i32); 4] = [
        ("list another module's data", "../witness", libc::O_RDONLY | libc::O_DIRECTORY),
        ("write another module's data", "../witness/hostile", libc::O_RDWR | libc::O_CREAT),
        ("list the node's data", "../..", libc::O_RDONLY | libc::O_DIRECTORY),
        ("read the node's token", "../../bus.token", libc::O_RDONLY),
    ];
    for (what, path, flags) in others {
        let answer = open(path, flags);
        let attempt = format!("outside: {what}");
        if layer == Layer::Uid {
            report.refused(&attempt, layer, &[Errno::EACCES], &answer)?;
        } else {
            report.refused_where_there_is("landlock", &attempt, layer, &[Errno::EACCES], &answer)?;
        }
        close_if_open(&answer);
    }
    Ok(())
}

fn close_if_open(answer: &Answer<RawFd>) {
    if let Ok(fd) = answer {
        close(*fd);
    }
}

/// Without the permission there is not even a socket. Somebody listens on `port`.
pub(crate) fn without_network(report: &mut Report, port: u16) -> io::Result<()> {
    let tries: [(&str, Answer); 5] = [
        ("connect out over TCP", connect(libc::SOCK_STREAM, port)),
        ("send out over UDP", connect(libc::SOCK_DGRAM, port)),
        ("listen on a TCP port", bind(libc::SOCK_STREAM, 0)),
        ("receive on a UDP port", bind(libc::SOCK_DGRAM, 0)),
        ("ask for the host's addresses", socket(libc::AF_NETLINK, libc::SOCK_RAW)),
    ];
    for (name, answer) in &tries {
        let attempt = format!("network, without permission: {name}");
        report.refused(&attempt, Layer::Seccomp, &[Errno::EPERM], answer)?;
    }
    Ok(())
}

/// With the permission, but for another port. Somebody listens on `port`.
pub(crate) fn beyond_its_port(report: &mut Report, port: u16) -> io::Result<()> {
    let tries: [(&str, Answer); 3] = [
        ("connect to another port", connect(libc::SOCK_STREAM, port)),
        ("listen on another port", bind(libc::SOCK_STREAM, port)),
        ("listen on any port", bind(libc::SOCK_STREAM, 0)),
    ];
    for (name, answer) in &tries {
        report.refused(&format!("network: {name}"), Layer::Ports, &[Errno::EACCES], answer)?;
    }
    Ok(())
}

fn socket(family: i32, kind: i32) -> Answer {
    let socket = call!(libc::SYS_socket, family, kind, 0)?;
    close(socket as RawFd);
    Ok(0)
}

fn connect(kind: i32, port: u16) -> Answer {
    with_address(libc::SYS_connect, kind, port)
}

fn bind(kind: i32, port: u16) -> Answer {
    with_address(libc::SYS_bind, kind, port)
}

fn with_address(number: libc::c_long, kind: i32, port: u16) -> Answer {
    // `struct sockaddr_in`: family, port and address, the latter two in network order.
    let mut address = [0_u8; 16];
    address[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
    let socket = call!(libc::SYS_socket, libc::AF_INET, kind, 0)?;
    let answer = call!(number, socket, &address[..], address.len());
    close(socket as RawFd);
    answer
}
