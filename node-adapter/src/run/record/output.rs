//! The file as two threads have it: one writes what it took, the other sees to it that nothing waits too long for the file.

use std::time::Duration;

use blvm_recording::{RecordingWriter, Totals, WriteError, Writing};
use parking_lot::Mutex;

use super::taken::Taken;

/// The recording that is made; empty until the node has let the recorder in, and after the end.
#[derive(Default)]
pub(super) struct Output(Mutex<Option<RecordingWriter>>);

impl Output {
    /// From here on there is a file.
    pub(super) fn begin(&self, writer: RecordingWriter) {
        *self.0.lock() = Some(writer);
    }

    /// Adds records.
    pub(super) fn write(&self, records: impl Iterator<Item = Taken>) -> Result<(), WriteError> {
        let mut writer = self.0.lock();
        // Nothing more is written to one that was ended.
        let Some(writer) = &mut *writer else { return Ok(()) };
        for taken in records {
            taken.write(writer)?;
        }
        Ok(())
    }

    /// Writes what is due; after what time something is.
    pub(super) fn attend(&self) -> Result<Option<Duration>, WriteError> {
        self.0.lock().as_mut().map_or(Ok(None), RecordingWriter::attend)
    }

    pub(super) fn so_far(&self) -> Writing {
        self.0.lock().as_ref().map(RecordingWriter::so_far).unwrap_or_default()
    }

    /// Ends the recording in order; `None` if it never began.
    pub(super) fn finish(&self) -> Result<Option<Totals>, WriteError> {
        self.0.lock().take().map(RecordingWriter::finish).transpose()
    }

    /// Keeps what was written, without the mark that says that nothing is missing.
    pub(super) fn abandon(&self) -> Result<(), WriteError> {
        self.0.lock().take().map_or(Ok(()), |mut writer| writer.flush())
    }
}
