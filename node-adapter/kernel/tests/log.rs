//! Does what the engine says reach `tracing`? Alone in its process: subscribers of other tests would interfere.
#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use blvm_kernel::{Chain, Network, ReadError};

/// Collects what a subscriber would print.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_engine_logs_to_tracing() {
    let printed = Printed::default();
    let writer = printed.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let directory = tempfile::tempdir().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        let chain = Chain::open(directory.path(), Network::Regtest, 0).unwrap();
        let genesis = chain.tip().hash;
        std::fs::remove_file(directory.path().join("blocks/blk00000.dat")).unwrap();
        let error = chain.read_block(&genesis).unwrap_err();
        assert!(matches!(error, ReadError::Store { .. }), "{error}");
    });
    let text = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains(" INFO kernel: "), "{text}");
    assert!(text.contains("ERROR kernel: ") && text.contains("OpenBlockFile failed"), "{text}");
}
