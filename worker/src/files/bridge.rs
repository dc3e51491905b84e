//! Between what reads and writes by blocking and what waits for a coordinator: a few pieces are on their way at a time.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use reactorcide_engine::artifacts::Content;
use tokio::sync::mpsc;

/// How large the pieces are.
pub const PIECE: usize = 256 << 10;
/// How many are on their way.
const WAITING: usize = 4;

/// Content that `write` writes, on a thread of its own. If it fails, so does the content.
pub fn written(write: impl FnOnce(&mut Outlet) -> io::Result<()> + Send + 'static) -> Content {
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || {
        let mut outlet = Outlet { pieces: sender, piece: BytesMut::with_capacity(PIECE) };
        let ended = write(&mut outlet).and_then(|()| outlet.send());
        if let Err(error) = ended {
            // Whoever does not want it any more has gone.
            let _ = outlet.pieces.blocking_send(Err(error));
        }
    });
    let next = |mut receiver: mpsc::Receiver<_>| async move { Some((receiver.recv().await?, receiver)) };
    Box::pin(stream::unfold(receiver, next))
}

/// Where content is written to.
pub struct Outlet {
    pieces: mpsc::Sender<io::Result<Bytes>>,
    piece: BytesMut,
}

impl Outlet {
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE)).freeze();
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Both ends of content that is read by blocking.
pub fn inlet() -> (mpsc::Sender<io::Result<Bytes>>, Inlet) {
    let (sender, pieces) = mpsc::channel(WAITING);
    (sender, Inlet { pieces, piece: Bytes::new() })
}

/// Where content is read from. It ends where its sender goes.
pub struct Inlet {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Inlet {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.piece.len());
        into[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
