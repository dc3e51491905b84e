//! Unpacking: entry by entry, nothing outside, nothing but files, directories and links, nothing through a link, and no
//! more bytes than allowed, whatever a header says.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tar::{Archive, Entry, EntryType};

use crate::source::error::{SourceError, is_full};
use crate::source::limits::Limits;
use crate::source::path::{inside, is_real_directory};

/// How much memory an xz or zst archive may ask for.
const MEMORY: u64 = 256 << 20;
/// The largest window of a zst archive, as a power of two.
const WINDOW: u32 = 27;

/// Unpacks an archive into an empty directory. What lies in one directory of its own is taken out of it.
pub fn unpack(location: &str, file: &Path, into: &Path, limits: Limits) -> Result<(), SourceError> {
    let refused = |reason: String| SourceError::Archive { location: location.to_owned(), reason };
    let too_large = |limit| SourceError::TooLarge { location: location.to_owned(), limit };
    let input = decompressed(file).map_err(SourceError::io(file))?;
    let counted =
        Counted { inner: input, left: limits.bytes.saturating_add(limits.entries.saturating_mul(1024)) };
    let mut archive =
        Archive::new(Guarded { inner: counted, left: 0, header: Vec::with_capacity(BLOCK), said: None });
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::FileTooLarge => too_large(limits.bytes_in_words()),
        _ if is_full(&error) => SourceError::io(into)(error),
        // The library quotes what stands there, which may be anything.
        io::ErrorKind::UnexpectedEof => refused("it ends too early".to_owned()),
        _ => refused("it is no archive that can be read".to_owned()),
    };
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        entries += 1;
        if entries > limits.entries {
            return Err(too_large(limits.entries_in_words()));
        }
        bytes = bytes.saturating_add(entry.size());
        if bytes > limits.bytes {
            return Err(too_large(limits.bytes_in_words()));
        }
        let name = entry.path_bytes().into_owned();
        one(&mut entry, &name, into).map_err(|problem| match problem {
            Problem::Refused(reason) => refused(format!("{:?} {reason}", shortened(&name))),
            Problem::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                too_large(limits.bytes_in_words())
            }
            Problem::Io(error) => SourceError::io(&into.join("…"))(error),
        })?;
    }
    if entries == 0 {
        return Err(refused("it is empty, or no archive".to_owned()));
    }
    flatten(into).map_err(SourceError::io(into))
}

/// As much of a name as people read.
fn shortened(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if text.chars().count() <= 200 {
        text.into_owned()
    } else {
        text.chars().take(200).chain(['…']).collect()
    }
}

enum Problem {
    Refused(String),
    Io(io::Error),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn one<R: Read>(entry: &mut Entry<'_, R>, name: &[u8], into: &Path) -> Result<(), Problem> {
    let refused = |reason: &str| Problem::Refused(reason.to_owned());
    let kind = entry.header().entry_type();
    if matches!(kind, EntryType::XGlobalHeader) {
        return Ok(());
    }
    let relative = inside(name).map_err(refused)?;
    if relative.as_os_str().is_empty() {
        return if kind.is_dir() { Ok(()) } else { Err(refused("has no name")) };
    }
    if is_sparse(entry)? {
        return Err(refused("is a sparse file"));
    }
    let parent = relative.parent().unwrap_or(Path::new(""));
    make_directories(into, parent)?;
    let target = into.join(&relative);
    match kind {
        EntryType::Directory => make_directories(into, &relative),
        EntryType::Regular | EntryType::Continuous => {
            // The last of one name counts, as tar has it; a directory is not replaced by a file.
            remove_file(&target)?;
            let mut file = File::create_new(&target)?;
            io::copy(entry, &mut file)?;
            let executable = entry.header().mode().unwrap_or(0o644) & 0o111 != 0;
            file.set_permissions(fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
            Ok(())
        }
        EntryType::Symlink => {
            let to = entry.link_name_bytes().ok_or_else(|| refused("is a link to nothing"))?.into_owned();
            if !stays_inside(parent, &to) {
                return Err(refused("is a link that leads outside"));
            }
            remove_file(&target)?;
            symlink(std::ffi::OsStr::from_bytes(&to), &target)?;
            Ok(())
        }
        EntryType::Link => Err(refused("is a hard link")),
        EntryType::Char | EntryType::Block => Err(refused("is a device")),
        EntryType::Fifo => Err(refused("is a named pipe")),
        _ => Err(refused("is of a kind that is not unpacked")),
    }
}

/// Makes directories, through no link.
fn make_directories(into: &Path, relative: &Path) -> Result<(), Problem> {
    let mut made = PathBuf::new();
    for part in relative.components() {
        made.push(part);
        let path = into.join(&made);
        match fs::create_dir(&path) {
            Ok(()) => fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        if !is_real_directory(into, &made) {
            return Err(Problem::Refused("is reached over a link or a file".to_owned()));
        }
    }
    Ok(())
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whether a link that stands in a directory leads to somewhere inside the archive.
fn stays_inside(directory: &Path, to: &[u8]) -> bool {
    if to.is_empty() || to.starts_with(b"/") || to.contains(&0) {
        return false;
    }
    let mut depth = directory.components().count();
    for part in to.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if depth == 0 => return false,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    true
}

/// A few bytes of a sparse file become as many as its header says.
fn is_sparse<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<bool> {
    if entry.header().entry_type() == EntryType::GNUSparse {
        return Ok(true);
    }
    let Some(extensions) = entry.pax_extensions()? else { return Ok(false) };
    for extension in extensions {
        if extension?.key_bytes().starts_with(b"GNU.sparse") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Archives of forges hold one directory with everything in it: what counts is in there.
fn flatten(into: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(into)?.collect::<io::Result<Vec<_>>>()?;
    let (Some(only), true) = (entries.pop(), entries.is_empty()) else { return Ok(()) };
    if !only.file_type()?.is_dir() {
        return Ok(());
    }
    // Aside first: it may hold something of its own name.
    let aside = into.with_extension("flat");
    fs::rename(only.path(), &aside)?;
    fs::remove_dir(into)?;
    fs::rename(aside, into)
}

/// The archive behind its compression, which its first bytes tell.
fn decompressed(file: &Path) -> io::Result<Box<dyn Read>> {
    let mut magic = [0; 6];
    let read = File::open(file)?.take(6).read(&mut magic)?;
    let input = BufReader::with_capacity(256 << 10, File::open(file)?);
    Ok(match &magic[..read] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let stream = liblzma::stream::Stream::new_stream_decoder(MEMORY, liblzma::stream::CONCATENATED);
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream.map_err(io::Error::other)?))
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::Decoder::with_buffer(input)?;
            decoder.window_log_max(WINDOW)?;
            Box::new(decoder)
        }
        _ => Box::new(input),
    })
}

/// The size of a block of an archive.
const BLOCK: usize = 512;
/// The most that is said about an entry beside its header: a long name, a long link, other records.
const MOST_SAID: u64 = 1 << 20;

/// Looks at each header before the library does, which reads what is said about an entry into memory, however much that
/// claims to be.
struct Guarded<R> {
    inner: R,
    /// What is left of the current entry's blocks.
    left: u64,
    /// As much of the next header as was read.
    header: Vec<u8>,
    /// What is said about the next entry, where that is being read.
    said: Option<Vec<u8>>,
}

impl<R: Read> Read for Guarded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= skipped as u64;
            if let Some(said) = &mut self.said {
                said.extend_from_slice(&bytes[..skipped]);
            }
            bytes = &bytes[skipped..];
            // Only what holds more than a header can say has another size there, and none of that fits our limits.
            if self.left == 0
                && let Some(said) = self.said.take()
                && said.windows(6).any(|part| part == b" size=")
            {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an entry has two sizes"));
            }
            let taken = (BLOCK - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            if self.header.len() == BLOCK {
                self.left = blocks(&self.header)?;
                self.said = matches!(self.header[156], b'x' | b'g' | b'X').then(Vec::new);
                self.header.clear();
            }
        }
        Ok(count)
    }
}

/// How many bytes follow a header, in whole blocks.
fn blocks(header: &[u8]) -> io::Result<u64> {
    let header = tar::Header::from_byte_slice(header);
    let size = header.entry_size().unwrap_or(0);
    let says = matches!(header.as_bytes()[156], b'L' | b'K' | b'x' | b'g' | b'X');
    if says && size > MOST_SAID {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too much is said about an entry"));
    }
    Ok(size.saturating_add(BLOCK as u64 - 1) / BLOCK as u64 * BLOCK as u64)
}

/// Reads up to a limit, and fails after it: a few kilobytes may decompress to a full disk.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.inner.read(&mut buffer[..room])?;
        self.left -= count as u64;
        Ok(count)
    }
}
