//! Making everything anew from the block files, for a directory whose databases are damaged.
//!
//! A file marks the directory meanwhile: a node that is killed goes on at its next start, from the beginning.

use std::fs::{self, File};
use std::io;
use std::time::{Duration, Instant};

use blvm_kernel::{Chain, Network, Position};

use super::datadir::DataDirectory;
use super::open::OpenError;

/// How often it is said how far it is.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Forgets the engine's databases and the unspent outputs, and opens the chain that the block files hold.
pub(super) fn reindex(
    directory: &DataDirectory,
    network: Network,
    script_threads: u8,
) -> Result<Chain, OpenError> {
    let marker = directory.reindexing();
    let failed = |path| move |source| OpenError::Journal { path, source };
    File::create(&marker).and_then(|file| file.sync_all()).map_err(failed(marker.clone()))?;
    remove_if_there(&directory.state()).map_err(failed(directory.state()))?;
    tracing::info!(%network, "reading the block files again");
    let mut reported = Instant::now();
    let report = move |position: Position| {
        if reported.elapsed() >= REPORT_INTERVAL {
            reported = Instant::now();
            tracing::info!(height = position.height, "reading the block files again");
        }
    };
    let chain = Chain::reindex(&directory.chain(), network, script_threads, report)?;
    // Only what is on disk is done.
    chain.flush()?;
    fs::remove_file(&marker).map_err(failed(marker.clone()))?;
    tracing::info!(height = chain.tip().height, "the block files are read");
    Ok(chain)
}

fn remove_if_there(path: &std::path::Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
