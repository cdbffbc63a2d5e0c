//! The files of a commit, read by one `git cat-file --batch`, which may serve several commits one after the other.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate_gitsync::tree::{Entry, EntryKind, Oid, Tree, TreeError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::listing::Listing;
use crate::child::{Call, Children, Running};

/// Most bytes of one file.
const MAX_FILE: u64 = 16 << 20;
/// Longest line before a file's content.
const MAX_HEADER: u64 = 200;

/// A commit as a tree. Its reads block: it is for a thread that may be blocked.
pub(super) struct Files {
    listing: Arc<Listing>,
    blobs: RefCell<Blobs>,
}

/// The repository lacks what it should have.
pub(super) struct Broken;

struct Blobs {
    children: Arc<Children>,
    repository: PathBuf,
    handle: Handle,
    /// When all must be read.
    deadline: Instant,
    reader: Option<Reader>,
    /// Held while the reader is used.
    permit: Option<OwnedSemaphorePermit>,
    /// Whether something could not be read that should be there.
    broken: bool,
}

/// A child that reads files.
pub(super) struct Reader {
    _running: Running,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Files {
    pub(super) fn new(
        listing: Arc<Listing>,
        children: Arc<Children>,
        repository: PathBuf,
        reader: Option<Reader>,
    ) -> Self {
        Self {
            listing,
            blobs: RefCell::new(Blobs {
                deadline: Instant::now() + children.timeout,
                children,
                repository,
                handle: Handle::current(),
                reader,
                permit: None,
                broken: false,
            }),
        }
    }

    /// What is left when all was read: the reader, for whoever comes next. Nothing, if the repository lacks what it should
    /// have.
    pub(super) fn end(self) -> Result<Option<Reader>, Broken> {
        let blobs = self.blobs.into_inner();
        if blobs.broken {
            Err(Broken)
        } else {
            Ok(blobs.reader)
        }
    }
}

impl Tree for Files {
    fn entry(&self, path: &str) -> Option<Entry> {
        self.listing.entry(path)
    }

    fn children(&self, path: &str) -> Vec<(String, Entry)> {
        self.listing.children(path)
    }

    fn read(&self, path: &str) -> Result<Arc<[u8]>, TreeError> {
        let failed = |message: String| TreeError {
            path: path.to_owned(),
            message,
        };
        let entry = self.listing.entry(path);
        let entry = entry.filter(|entry| matches!(entry.kind, EntryKind::File | EntryKind::Link));
        let Some(entry) = entry else {
            return Err(failed("there is no such file".to_owned()));
        };
        if entry.size > MAX_FILE {
            return Err(failed(format!("is larger than {MAX_FILE} bytes")));
        }
        self.blobs.borrow_mut().read(&entry).map_err(failed)
    }
}

impl Blobs {
    fn read(&mut self, entry: &Entry) -> Result<Arc<[u8]>, String> {
        let handle = self.handle.clone();
        let deadline = self.deadline;
        let read = handle.block_on(async { tokio::time::timeout_at(deadline, self.ask(entry)).await });
        let content = match read {
            Ok(Ok(content)) => Ok(content.into()),
            Ok(Err(error)) => Err(format!("cannot be read: {error}")),
            Err(_) => Err("cannot be read in time".to_owned()),
        };
        self.broken |= content.is_err();
        content
    }

    async fn ask(&mut self, entry: &Entry) -> std::io::Result<Vec<u8>> {
        if self.permit.is_none() {
            self.permit = self.children.permit().await;
        }
        if self.reader.is_none() {
            self.reader = Some(self.start()?);
        }
        match &mut self.reader {
            Some(reader) => reader.ask(&entry.oid, entry.size).await,
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    fn start(&self) -> std::io::Result<Reader> {
        let call = Call {
            args: vec!["cat-file".to_owned(), "--batch".to_owned()],
            repository: Some(&self.repository),
            ..Call::default()
        };
        let mut running = self.children.spawn(&call, None)?;
        let child = &mut running.child;
        // nobody reads what it complains about: closed, so that it does not wait for that
        drop(child.stderr.take());
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok(Reader {
                _running: running,
                stdin,
                stdout: BufReader::new(stdout),
            }),
            _ => Err(std::io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Reader {
    /// `<oid> blob <size>\n<content>\n`
    async fn ask(&mut self, oid: &Oid, size: u64) -> std::io::Result<Vec<u8>> {
        self.stdin.write_all(format!("{oid}\n").as_bytes()).await?;
        self.stdin.flush().await?;
        let mut header = String::new();
        (&mut self.stdout).take(MAX_HEADER).read_line(&mut header).await?;
        if header.trim_end() != format!("{oid} blob {size}") {
            return Err(std::io::Error::other("git cat-file has no such file"));
        }
        let mut content = vec![0; usize::try_from(size).map_err(std::io::Error::other)? + 1];
        self.stdout.read_exact(&mut content).await?;
        content.pop();
        Ok(content)
    }
}
