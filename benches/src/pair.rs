//! Two processes of one program: the one that was started, and copies of itself that it starts.
//!
//! A child is exec'ed from this very program with other arguments. It inherits one descriptor, its standard input: a
//! socket, over which everything else comes, values as JSON and descriptors with them (`SCM_RIGHTS`), as a module gets
//! its segments from a node. The socket carries what comes before and after a measurement, never what is measured.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use blvm_bus::request::{recv_with_descriptors, send_with_descriptors};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest value.
const MAX_VALUE_BYTES: usize = 256 << 20;

/// How long [`Child::receive`](Control::receive) waits: children that hang must not hang the measurement.
const PATIENCE: Duration = Duration::from_secs(120);

/// Every child that lives, for the thread that ends them.
static CHILDREN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Exit status after an interrupt, as of a shell's.
const INTERRUPTED: i32 = 130;

/// From now on SIGINT and SIGTERM kill all children, wait for their ends, and end this process. Call it before anything
/// starts a thread.
///
/// # Errors
///
/// What the kernel says.
pub fn end_with_children() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Threads inherit this; children start without it.
    signals.thread_block()?;
    thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        if signals.wait().is_ok() {
            // Locked until the end: nobody starts another one.
            let children = children();
            for child in children.iter() {
                // Both fail only when it is gone already.
                let _ = kill(*child, Signal::SIGKILL);
                let _ = waitpid(*child, None);
            }
            std::process::exit(INTERRUPTED);
        }
    })?;
    Ok(())
}

fn children() -> MutexGuard<'static, Vec<Pid>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn forget(process: &std::process::Child) {
    children().retain(|child| *child != pid_of(process));
}

fn pid_of(process: &std::process::Child) -> Pid {
    // A process id is below 2^22.
    Pid::from_raw(process.id() as i32)
}

/// A process that this one has started. Dropping it kills it.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    /// Its socket.
    pub control: Control,
}

impl Child {
    /// Starts this program once more, with `arguments`, on the caller's cores. Its standard output is nowhere: that of
    /// this process is the report.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn start(arguments: &[&str]) -> io::Result<Self> {
        let (here, there) = UnixStream::pair()?;
        here.set_read_timeout(Some(PATIENCE))?;
        let mut children = children();
        let process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::from(OwnedFd::from(there)))
            .stdout(Stdio::null())
            .spawn()?;
        children.push(pid_of(&process));
        drop(children);
        Ok(Child { process, control: Control { stream: here } })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// What kill(2) says.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        // Not anyone else's: std refuses to signal a process that it has waited for, and so does this.
        match self.try_wait()? {
            Some(_) => Err(io::Error::from(io::ErrorKind::NotFound)),
            None => Ok(kill(pid_of(&self.process), signal)?),
        }
    }

    /// How it has exited, if it has.
    ///
    /// # Errors
    ///
    /// What waitpid(2) says.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.process.try_wait()?;
        if status.is_some() {
            forget(&self.process);
        }
        Ok(status)
    }

    /// Waits until it has exited by itself.
    ///
    /// # Errors
    ///
    /// What waitpid(2) says.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.process.wait()?;
        forget(&self.process);
        Ok(status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.process.kill();
        let _ = self.wait();
    }
}

/// One end of the socket between the two.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
}

impl Control {
    /// The child's end: its standard input. From now on the child dies with the thread that started it.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn inherited() -> io::Result<Self> {
        set_pdeathsig(Signal::SIGKILL)?;
        // If the parent is gone already, the first value never comes.
        let descriptor = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Control { stream: UnixStream::from(descriptor) })
    }

    /// Sends a value, and descriptors (at most 24) with it.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn send(
        &mut self,
        value: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Box<dyn Error>> {
        let value = serde_json::to_vec(value)?;
        let mut frame = u64::try_from(value.len())?.to_le_bytes().to_vec();
        frame.extend_from_slice(&value);
        let sent = send_with_descriptors(&self.stream, &frame, descriptors)?;
        Ok(self.stream.write_all(&frame[sent..])?)
    }

    /// Waits for a value, and the descriptors that came with it.
    ///
    /// # Errors
    ///
    /// What the kernel says, that the other process is gone or silent, or that it sent something else.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<(T, Vec<OwnedFd>), Box<dyn Error>> {
        let mut descriptors = Vec::new();
        let mut length = [0; 8];
        let gone = || io::Error::new(io::ErrorKind::UnexpectedEof, "the other process is gone");
        let silent = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::new(io::ErrorKind::TimedOut, "the other process is silent")
            }
            _ => error,
        };
        // They come with the first byte.
        let first = recv_with_descriptors(&self.stream, &mut length, &mut descriptors).map_err(silent)?;
        if first == 0 {
            return Err(gone().into());
        }
        self.stream.read_exact(&mut length[first..]).map_err(silent)?;
        let length =
            usize::try_from(u64::from_le_bytes(length)).ok().filter(|bytes| *bytes <= MAX_VALUE_BYTES);
        let mut value = vec![0; length.ok_or("the other process speaks another language")?];
        self.stream.read_exact(&mut value).map_err(silent)?;
        Ok((serde_json::from_slice(&value)?, descriptors))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn values_arrive_in_order_with_their_descriptors() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut left, mut right) = (Control { stream: left }, Control { stream: right });
        let null = File::open("/dev/null").unwrap();
        left.send(&vec![1, 2, 3], &[null.as_fd()]).unwrap();
        left.send(&"text", &[]).unwrap();
        let (numbers, descriptors): (Vec<u64>, _) = right.receive().unwrap();
        assert_eq!((numbers, descriptors.len()), (vec![1, 2, 3], 1));
        let (text, descriptors): (String, _) = right.receive().unwrap();
        assert_eq!((text.as_str(), descriptors.len()), ("text", 0));
        drop(left);
        assert!(right.receive::<String>().is_err());
    }
}
