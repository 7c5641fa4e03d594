//! Looks at the disk that holds the data, and says when it is nearly full.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use super::every;
use crate::source::{EventSink, NodeEvent};

/// Below this the disk is nearly full, in bytes.
const THRESHOLD_BYTES: u64 = 1 << 30;

const INTERVAL: Duration = Duration::from_secs(60);

/// Looks at the disk of `path` for ever.
pub(super) async fn watch(path: PathBuf, sink: Arc<dyn EventSink>) {
    let mut alarm = Alarm::default();
    let mut looks = every(INTERVAL);
    loop {
        looks.tick().await;
        match statvfs(&path) {
            Ok(disk) => {
                let free_bytes = disk.blocks_available() * disk.fragment_size();
                if let Some(event) = alarm.look(free_bytes) {
                    tracing::warn!(free_bytes, path = %path.display(), "the disk is nearly full");
                    sink.event(event);
                }
            }
            Err(error) => tracing::warn!(%error, path = %path.display(), "the disk cannot be looked at"),
        }
    }
}

/// Says once that there is too little, and again only after there was enough.
#[derive(Debug, Default)]
struct Alarm {
    is_low: bool,
}

impl Alarm {
    fn look(&mut self, free_bytes: u64) -> Option<NodeEvent> {
        let was_low = std::mem::replace(&mut self.is_low, free_bytes < THRESHOLD_BYTES);
        (self.is_low && !was_low)
            .then_some(NodeEvent::DiskSpaceLow { free_bytes, threshold_bytes: THRESHOLD_BYTES })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_once_until_there_is_room_again() {
        let mut alarm = Alarm::default();
        let said: Vec<bool> =
            [2, 1, 0, 0, 1, 0, 0].map(|gibibytes: u64| alarm.look(gibibytes << 30).is_some()).into();
        assert_eq!(said, [false, false, true, false, false, true, false]);
        assert!(matches!(
            Alarm::default().look(5),
            Some(NodeEvent::DiskSpaceLow { free_bytes: 5, threshold_bytes: THRESHOLD_BYTES })
        ));
    }
}
