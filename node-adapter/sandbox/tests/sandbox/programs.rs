//! The program: what runs is what was hashed, and bad ones are told apart.

use std::fs;
use std::path::{Path, PathBuf};

use blvm_sandbox::{ExitReport, SpawnError, SpawnRequest, Spawner};

use crate::support::{PROBE, PublicProbe, await_ready, request, sha256};

fn refused(program: impl Into<PathBuf>) -> SpawnError {
    let mut asked = request(&["exit", "0"]);
    asked.program = program.into();
    Spawner::start().unwrap().spawn(asked).unwrap_err()
}

#[test]
fn the_hash_of_what_runs_is_returned_and_checked() {
    let spawner = Spawner::start().unwrap();
    let expected = sha256(Path::new(PROBE));
    let mut asked = request(&["exit", "0"]);
    asked.expected_sha256 = Some(expected);
    assert_eq!(spawner.spawn(asked).unwrap().sha256(), expected);

    let mut asked = request(&["exit", "0"]);
    asked.expected_sha256 = Some([7; 32]);
    let error = spawner.spawn(asked).unwrap_err();
    let SpawnError::HashMismatch { found, .. } = error else { panic!("{error}") };
    assert_eq!(found, expected);
}

#[test]
fn a_program_rewritten_after_the_hash_changes_nothing() {
    let probe = PublicProbe::new();
    let spawner = Spawner::start().unwrap();
    let mut asked = request(&["park"]);
    asked.program = probe.path.clone();
    asked.expected_sha256 = Some(sha256(&probe.path));
    let mut child = spawner.spawn(asked).unwrap();
    let _lines = await_ready(&mut child);
    // Not ETXTBSY: the file is not what runs.
    fs::write(&probe.path, "#!/bin/sh\n").unwrap();
    assert_eq!(child.try_wait(), Ok(None));
    let program = fs::read_link(format!("/proc/{}/exe", child.pid()));
    // The link of a module that is not dumpable is open to root only.
    if let Ok(program) = program {
        assert_eq!(program, Path::new("/memfd:probe (deleted)"));
    }
    assert!(matches!(refused(&probe.path), SpawnError::NotExecutable { .. }));
}

#[test]
fn the_modules_user_needs_no_access_to_the_path() {
    use std::os::unix::fs::PermissionsExt;
    let probe = PublicProbe::new();
    let directory = probe.path.parent().unwrap();
    fs::set_permissions(&probe.path, fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    let mut asked = request(&["exit", "3"]);
    asked.program = probe.path.clone();
    let spawner = Spawner::start().unwrap();
    let mut child = spawner.spawn(asked).unwrap();
    assert_eq!(child.wait(), Ok(ExitReport::Exited { status: 3 }));
}

#[test]
fn bad_programs_are_told_apart() {
    let probe = PublicProbe::new();
    let directory = probe.path.parent().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    assert!(matches!(refused(directory.join("missing")), SpawnError::ProgramNotFound { .. }));
    assert!(matches!(refused(probe.path.join("below")), SpawnError::ProgramNotFound { .. }));
    assert!(matches!(refused(directory), SpawnError::ProgramNotRegular { .. }));
    assert!(matches!(refused("/dev/null"), SpawnError::ProgramNotRegular { .. }));
    let fifo = directory.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(refused(fifo), SpawnError::ProgramNotRegular { .. }));
    for (name, bytes) in
        [("empty", b"".as_slice()), ("script", b"#!/bin/sh\nexit 0\n"), ("short", b"\x7fELF")]
    {
        let error = refused(write(name, bytes));
        assert!(matches!(error, SpawnError::NotExecutable { .. }), "{name}: {error:?}");
    }

    let mut foreign = fs::read(PROBE).unwrap();
    // e_machine, two bytes at 18: no such machine.
    foreign[18..20].copy_from_slice(&[0xfe, 0xfe]);
    assert!(matches!(refused(write("foreign", &foreign)), SpawnError::NotExecutable { .. }));
}

#[test]
fn a_missing_loader_is_named_as_the_cause() {
    let mut program = fs::read(PROBE).unwrap();
    let loader = b"/lib64/ld-linux-x86-64.so.2\0";
    let Some(place) = program.windows(loader.len()).position(|bytes| bytes == loader) else {
        println!("skipped: this system has another loader, or none");
        return;
    };
    program[place + 1] = b'X';
    let probe = PublicProbe::new();
    fs::write(&probe.path, program).unwrap();
    let error = refused(&probe.path);
    assert!(matches!(error, SpawnError::LoaderMissing { .. }), "{error:?}");
}

#[test]
fn nul_bytes_and_bad_names_are_refused_before_anything_runs() {
    let spawner = Spawner::start().unwrap();
    let mut asked: SpawnRequest = request(&["a\0b"]);
    assert!(matches!(spawner.spawn(asked), Err(SpawnError::ContainsNul { what: "an argument" })));
    asked = request(&[]);
    asked.environment = vec![("A".into(), "\0".into())];
    assert!(matches!(spawner.spawn(asked), Err(SpawnError::ContainsNul { what: "an environment entry" })));
    asked = request(&[]);
    asked.environment = vec![("".into(), "x".into())];
    assert!(matches!(spawner.spawn(asked), Err(SpawnError::EnvironmentName { .. })));
}
