//! Compiles the rules to BPF, with places for a pid that is known only after the fork.

use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, TargetArch, sock_filter};

use super::rules::Rules;

/// The instruction that the kernel reads; same layout as `struct sock_filter`.
pub(crate) type Instruction = sock_filter;

/// Offset of the system call number in `struct seccomp_data`.
const OFFSET_NUMBER: u32 = 0;
/// Set in every x32 number, and in no other on x86-64.
const X32_BIT: u32 = 0x4000_0000;

/// A compiled filter that still lacks the module's own pid.
pub(crate) struct Filter {
    instructions: Vec<Instruction>,
    own_pid_places: Vec<usize>,
}

impl Filter {
    /// Compiles the filter, or returns `None` if there is none for this architecture.
    ///
    /// It denies sockets of the network too, unless `may_use_network`.
    pub(crate) fn compile(may_use_network: bool) -> Option<Self> {
        let architecture = TargetArch::try_from(std::env::consts::ARCH).ok()?;
        // The same rules for two different pids: whatever differs is a place for the pid,
        // and no other constant can be mistaken for one.
        let (instructions, uses) = compile_for(1, may_use_network, architecture).ok()?;
        let (other, _) = compile_for(2, may_use_network, architecture).ok()?;
        let own_pid_places: Vec<usize> = instructions
            .iter()
            .zip(&other)
            .enumerate()
            .filter(|(_, (a, b))| a != b)
            .map(|(place, _)| place)
            .collect();
        assert_eq!(instructions.len(), other.len(), "the filter's length does not depend on the pid");
        assert_eq!(own_pid_places.len(), uses, "each comparison with the own pid is one instruction");
        Some(Self { instructions, own_pid_places })
    }

    /// Writes the module's pid into its places. Safe between fork and exec: no allocation, no lock, no panic.
    pub(crate) fn set_own_pid(&mut self, pid: u32) {
        for &place in &self.own_pid_places {
            if let Some(instruction) = self.instructions.get_mut(place) {
                instruction.k = pid;
            }
        }
    }

    /// Returns the instructions, to be handed to the kernel.
    pub(crate) fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }
}

/// Returns the program and how many comparisons with the own pid it contains.
fn compile_for(
    own_pid: u32,
    may_use_network: bool,
    architecture: TargetArch,
) -> Result<(BpfProgram, usize), BackendError> {
    let rules = Rules::all(own_pid, may_use_network)?;
    let uses = rules.own_pid_uses;
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules.denied, SeccompAction::Allow, denied, architecture)?;
    let mut program = unknown_calls();
    program.extend(BpfProgram::try_from(filter)?);
    Ok((program, uses))
}

/// What answers ENOSYS, which seccompiler cannot express beside EPERM. Its check of the architecture follows and
/// kills; before it, a call of another architecture can only be answered ENOSYS, never be allowed.
///
/// `clone3` takes its flags from memory, where no filter sees them: callers fall back to `clone`.
fn unknown_calls() -> BpfProgram {
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let clone3 = u32::try_from(libc::SYS_clone3).unwrap_or(u32::MAX);
    let no_such_call =
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs());
    let mut program = vec![load(OFFSET_NUMBER)];
    if cfg!(target_arch = "x86_64") {
        program.push(jump(libc::BPF_JSET, X32_BIT, 1, 0));
    }
    program.push(jump(libc::BPF_JEQ, clone3, 0, 1));
    program.push(no_such_call);
    program
}

fn statement(code: u32, k: u32) -> Instruction {
    jump_or_statement(code, k, 0, 0)
}

fn jump(comparison: u32, k: u32, jt: u8, jf: u8) -> Instruction {
    jump_or_statement(libc::BPF_JMP | comparison | libc::BPF_K, k, jt, jf)
}

fn jump_or_statement(code: u32, k: u32, jt: u8, jf: u8) -> Instruction {
    // Class, size and mode are all below 256.
    Instruction { code: (code & 0xff) as u16, jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_and_nothing_else_carries_the_pid() {
        let mut filter = Filter::compile(true).unwrap();
        let before = filter.instructions().to_vec();
        filter.set_own_pid(0x00ab_cdef);
        let changed = before.iter().zip(filter.instructions()).filter(|(a, b)| a != b).count();
        let carrying =
            filter.instructions().iter().filter(|instruction| instruction.k == 0x00ab_cdef).count();
        assert_eq!(changed, filter.own_pid_places.len());
        assert_eq!(carrying, changed);
        assert!(
            changed >= 11,
            "kill, tgkill, rt_tgsigqueueinfo, prlimit64, sched_*, setpriority, ioprio_set"
        );
    }

    #[test]
    fn the_layout_of_an_instruction_is_the_kernels() {
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(align_of::<Instruction>(), align_of::<libc::sock_filter>());
        assert_eq!(std::mem::offset_of!(Instruction, k), std::mem::offset_of!(libc::sock_filter, k));
    }
}
