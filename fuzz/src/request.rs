//! Target `request`: what comes over a request socket, from either side.

use blvm_bus::request::{Call, CallOutcome, FRAME_HEAD_BYTES, FrameHead, Reply, Request, decode, encode};

/// Reads `data` as a frame: its head, then the archive behind it as a request, a reply, a call and the outcome of one.
///
/// What is accepted survives encoding. `data` shorter than a head is read as an archive.
pub fn request(data: &[u8]) {
    let archive = match data.split_first_chunk::<FRAME_HEAD_BYTES>() {
        Some((head, archive)) => {
            let head = FrameHead::decode(head);
            assert_eq!(FrameHead::decode(&head.encode()), head);
            archive
        }
        None => data,
    };
    if let Ok(request) = decode::<Request>(archive) {
        assert_eq!(decode(&encode(&request)), Ok(request));
    }
    if let Ok(call) = decode::<Call>(archive) {
        assert_eq!(decode(&encode(&call)), Ok(call));
    }
    if let Ok(outcome) = decode::<CallOutcome>(archive) {
        if let CallOutcome::Failed(error) = &outcome {
            let _ = error.to_string();
        }
        assert_eq!(decode(&encode(&outcome)), Ok(outcome));
    }
    if let Ok(reply) = decode::<Reply>(archive) {
        if let Reply::Refused(refusal) = &reply {
            assert!(!refusal.to_string().is_empty(), "a refusal says why");
        }
        assert_eq!(decode(&encode(&reply)), Ok(reply));
    }
}
