//! Test helper: a module that does everything to the node that a module must not be able to do.
//!
//! Started by `hostile-node` in the sandbox (or by the test, as root, without it), it writes one line of JSON per attempt
//! to `attempts.jsonl` in its directory. What it reaches is judged by what it sees: the answer of each call, the bytes in the
//! segments, whether the node runs and publishes.
//!
//! | command | does |
//! |---|---|
//! | `module SETTING OTHER_PID OWN_PORT PORT` | attaches and tries everything; somebody listens on PORT |
//! | `bombs SETTING PORT` | has no network: tries to get one, opens what is not its own, uses up what there is |
//! | `shared-memory SETTING`, `memory-files SETTING` | uses up memory until it is killed |
//! | `outlive SETTING` | attaches and does what it can to outlive the node |
//! | `seal-first SETTING` | seals its lease page before the node can |
//! | `half-frame SETTING` | attaches, sends half a request and ends |
//! | `hold SETTING` | keeps every descriptor in flight that its user may have |
//! | `root NODE_PID` | tries from outside, as root |
//!
//! SETTING is its name, then what the host cannot enforce: `same_uid,memory,pids`.
#![allow(unsafe_code)]

mod bombs;
mod conversation;
mod kernel;
mod lease;
mod outside;
mod process;
mod report;
mod segment;
mod sockets;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::process::ExitCode;

use conversation::Conversation;
use kernel::View;
use libc::{MAP_SHARED, PROT_READ};
use report::{Report, Setting, Target};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["root", node] => numbers([node]).and_then(|[node]| attack_as_root(node)),
        ["module", setting, other, own_port, port] => numbers([other, own_port, port])
            .and_then(|[other, own_port, port]| attack_as_module(report(setting)?, other, own_port, port)),
        ["bombs", setting, port] => numbers([port]).and_then(|[port]| use_up(report(setting)?, port)),
        ["shared-memory", _] => attached(None).and_then(|_| bombs::shared_memory()),
        ["memory-files", _] => attached(None).and_then(|_| bombs::memory_files()),
        ["outlive", _] => attached(None).and_then(|_| bombs::outlive()).map(|never| match never {}),
        ["seal-first", setting] => {
            report(setting).and_then(|mut report| lease::seal_first(&mut report, &mut Conversation::begin()?))
        }
        ["half-frame", setting] => report(setting).and_then(|_| end_in_a_frame()),
        ["hold", setting] => report(setting).and_then(hold_descriptors),
        _ => return ExitCode::from(2),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hostile-module {words:?}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn numbers<const N: usize>(words: [&str; N]) -> io::Result<[i32; N]> {
    let mut found = [0; N];
    for (number, word) in found.iter_mut().zip(words) {
        *number = word.parse().map_err(io::Error::other)?;
    }
    Ok(found)
}

fn report(setting: &str) -> io::Result<Report> {
    let mut words = setting.split(',');
    let setting = words.next().and_then(Setting::from_name).ok_or(io::ErrorKind::InvalidInput)?;
    let lacks = words.map(str::to_owned).collect();
    let lines = OpenOptions::new().create(true).append(true).open("attempts.jsonl")?;
    Ok(Report::new(setting, lacks, lines))
}

fn length_of(fd: RawFd) -> io::Result<usize> {
    // `lseek` would move a shared offset: the sizes are asked for.
    let length = std::fs::metadata(format!("/proc/self/fd/{fd}"))?.len();
    usize::try_from(length).map_err(io::Error::other)
}

/// Attaches as a good module does.
fn attached(own_port: Option<u16>) -> io::Result<(Conversation, Target)> {
    let mut talk = Conversation::begin()?;
    let given = talk.hello()?;
    lease::map(&given.lease_page)?;
    talk.mapped()?;
    let chain = given.segments[0].1.as_raw_fd();
    let chain = View::map(chain, length_of(chain)?, PROT_READ, MAP_SHARED)?;
    Ok((talk, Target { pid: nix::unistd::getppid().as_raw(), chain, own_port }))
}

fn use_up(mut report: Report, port: i32) -> io::Result<()> {
    let (mut talk, target) = attached(None)?;
    outside::open_files(&mut report)?;
    outside::without_network(&mut report, port_of(port)?)?;
    bombs::attack(&mut report, &target, &mut talk)
}

fn port_of(number: i32) -> io::Result<u16> {
    number.try_into().map_err(io::Error::other)
}

fn attack_as_module(mut report: Report, other: i32, own_port: i32, port: i32) -> io::Result<()> {
    let node = nix::unistd::getppid().as_raw();
    let own_port = if report.lacks("ports") { None } else { Some(port_of(own_port)?) };
    let mut talk = Conversation::begin()?;
    let given = talk.hello()?;
    let page_fd = given.lease_page.as_raw_fd();
    let page = lease::map(&given.lease_page)?;
    let pending = lease::before_the_seal(&mut report, page_fd, &page)?;
    talk.mapped()?;
    let chain = given.segments[0].1.as_raw_fd();
    let chain = View::map(chain, length_of(chain)?, PROT_READ, MAP_SHARED)?;
    let target = Target { pid: node, chain, own_port };
    lease::judge_pending(&mut report, &target, &pending)?;
    lease::after_the_seal(&mut report, &target, page_fd, &page)?;
    for (name, segment) in &given.segments {
        let fd = segment.as_raw_fd();
        segment::attack(&mut report, name, fd, length_of(fd)?)?;
    }
    process::attack(&mut report, &target, "node", node)?;
    process::attack(&mut report, &target, "other module", other)?;
    process::own_its_socket(&mut report, &target, "request socket", &talk.request)?;
    process::own_its_socket(&mut report, &target, "wake socket", &talk.wake)?;
    process::attack_output(&mut report, &target)?;
    process::break_out(&mut report, &target)?;
    if own_port.is_some() {
        outside::beyond_its_port(&mut report, port_of(port)?)?;
    }
    lease::tear(&mut report, &target, &page)?;
    sockets::attack_requests(&mut report, &target, &mut talk)?;
    sockets::attack_wakes(&mut report, &target, &mut talk)
}

fn end_in_a_frame() -> io::Result<()> {
    let mut talk = Conversation::begin()?;
    let given = talk.hello()?;
    let page = lease::map(&given.lease_page)?;
    talk.mapped()?;
    sockets::half_a_frame(&mut talk)?;
    // Leases held at the end are the node's to take back.
    page.store(0, 1);
    Ok(())
}

fn hold_descriptors(mut report: Report) -> io::Result<()> {
    let mut talk = Conversation::begin()?;
    let _given = talk.hello()?;
    talk.mapped()?;
    sockets::hold_descriptors(&mut report, &mut talk)
}

/// Takes the segments out of the node's own descriptors: root may.
fn attack_as_root(node: i32) -> io::Result<()> {
    let mut report = report("root")?;
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{node}/fd"))? {
        let path = entry?.path();
        let Ok(link) = std::fs::read_link(&path) else { continue };
        let link = link.to_string_lossy().into_owned();
        let name = link.strip_prefix("/memfd:blvm-").and_then(|rest| rest.split(' ').next());
        if let Some(name @ ("chain" | "mempool" | "peers" | "system")) = name {
            segments.push((name.to_owned(), std::fs::File::open(&path)?));
        }
    }
    let Some((_, chain)) = segments.iter().find(|(name, _)| name == "chain") else {
        return Err(io::Error::other("the node holds no segment"));
    };
    let chain = chain.as_fd().as_raw_fd();
    let chain = View::map(chain, length_of(chain)?, PROT_READ, MAP_SHARED)?;
    let target = Target { pid: node, chain, own_port: None };
    for (name, segment) in &segments {
        let fd = segment.as_raw_fd();
        segment::attack(&mut report, name, fd, length_of(fd)?)?;
    }
    process::write_as_root(&mut report, node, &target.chain)?;
    process::attack(&mut report, &target, "node", node)
}
