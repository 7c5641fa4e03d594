//! The one thread from which all modules are forked.

use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::sys::signal::SigSet;

use crate::launch::launch;
use crate::plan::{ParentSide, Plan, prepare};
use crate::{Child, SpawnError, SpawnRequest, StartError, Step};

/// Starts modules, all from one thread that lives as long as this value.
///
/// Dropping the spawner kills every child that still runs: the kernel sends the death signal when the thread
/// that forked them exits. Keep it as long as the node lives.
#[derive(Debug)]
pub struct Spawner {
    /// `None` only while dropping.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    plan: Plan,
    parent: ParentSide,
    reply: SyncSender<Result<Child, SpawnError>>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`StartError::Thread`] if the system gives none.
    pub fn start() -> Result<Self, StartError> {
        let (jobs, queue) = channel();
        let thread = thread::Builder::new()
            .name("spawner".into())
            .spawn(move || work(&queue))
            .map_err(StartError::Thread)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Starts a module, and returns once it runs its program.
    ///
    /// Blocks for the copy and hash of the program (milliseconds per 10 MB), and for the fork, whose cost grows
    /// with the node's private memory. In async code, call it where blocking is allowed.
    ///
    /// # Errors
    ///
    /// [`SpawnError`]; then no process is left behind, and the granted descriptors are closed.
    pub fn spawn(&self, request: SpawnRequest) -> Result<Child, SpawnError> {
        let program = request.program.clone();
        let allows_weak = request.allow_weak_isolation;
        let (plan, parent) = prepare(request)?;
        let (reply, answer) = sync_channel(1);
        let jobs = self.jobs.as_ref().ok_or(SpawnError::SpawnerGone)?;
        jobs.send(Job { plan, parent, reply }).map_err(|_| SpawnError::SpawnerGone)?;
        let child = match answer.recv().map_err(|_| SpawnError::SpawnerGone)? {
            Ok(child) => child,
            Err(SpawnError::Step { step: Step::Execute, errno: Errno::ENOEXEC }) => {
                return Err(SpawnError::NotExecutable { program });
            }
            Err(SpawnError::Step { step: Step::Execute, errno: Errno::ENOENT }) => {
                return Err(SpawnError::LoaderMissing { program });
            }
            Err(error) => return Err(error),
        };
        // The child has exited already: without weak isolation it does not go on.
        if let Some(&(layer, reason)) = child.weak().first().filter(|_| !allows_weak) {
            return Err(SpawnError::WeakIsolation { layer, reason });
        }
        log(&child, &program);
        Ok(child)
    }
}

fn log(child: &Child, program: &std::path::Path) {
    tracing::debug!(pid = child.pid(), program = %program.display(), "started a module process");
    for (layer, reason) in child.weak() {
        tracing::warn!(pid = child.pid(), %layer, %reason, "a module runs without a layer");
    }
}

fn work(queue: &Receiver<Job>) {
    // Between fork and exec the node's handlers would run in the child, on the node's descriptors. Blocking
    // cannot fail: the set and the way are valid.
    let _ = SigSet::all().thread_block();
    for Job { plan, parent, reply } in queue {
        // A caller that has gone drops the child, which kills and reaps it.
        let _ = reply.send(launch(plan, parent));
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the thread has already been reported by the panic hook.
            let _ = thread.join();
        }
    }
}
