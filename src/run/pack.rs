//! A run's folder as one stream, and back: how a record comes out of a pod.

use std::io::{self, Read, Write};
use std::path::{Component, Path};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// Writes all files under `dir` as a gzipped tar; names in it start at the folder.
pub fn pack(dir: &Path, to: impl Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(GzEncoder::new(to, Compression::fast()));
    tar.follow_symlinks(false);
    tar.append_dir_all("", dir)?;
    tar.into_inner()?.finish()?.flush()
}

/// Writes what [`pack`] made into `dir`, which exists. Only plain files and folders inside it are taken.
pub fn unpack(from: impl Read, dir: &Path) -> io::Result<()> {
    let mut stream = GzDecoder::new(from);
    let mut tar = tar::Archive::new(&mut stream);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let inside = path
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        let plain = entry.header().entry_type().is_file() || entry.header().entry_type().is_dir();
        if !inside || !plain {
            return Err(io::Error::other(format!(
                "{} in the packed record is no file of it",
                path.display()
            )));
        }
        entry.unpack_in(dir)?;
    }
    // The end of the stream carries its checksum: what was cut off must not look like a whole record.
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        std::fs::write(dir.path().join("record.jsonl"), "{}\n".repeat(50_000)).unwrap();
        std::fs::write(dir.path().join("logs/a.log"), "").unwrap();
        dir
    }

    #[test]
    fn what_is_packed_comes_out_the_same() {
        let (from, to) = (folder(), tempfile::tempdir().unwrap());
        let mut packed = Vec::new();
        pack(from.path(), &mut packed).unwrap();
        unpack(&packed[..], to.path()).unwrap();
        for name in ["record.jsonl", "logs/a.log"] {
            let read = |dir: &tempfile::TempDir| std::fs::read(dir.path().join(name)).unwrap();
            assert!(read(&from) == read(&to), "{name}");
        }
    }

    #[test]
    fn a_stream_that_is_cut_off_anywhere_is_an_error() {
        let mut packed = Vec::new();
        pack(folder().path(), &mut packed).unwrap();
        for end in 0..packed.len() {
            let to = tempfile::tempdir().unwrap();
            assert!(
                unpack(&packed[..end], to.path()).is_err(),
                "{end} of {}",
                packed.len()
            );
        }
    }

    #[test]
    fn nothing_is_written_outside_the_folder() {
        let mut bytes = Vec::new();
        let mut tar = tar::Builder::new(GzEncoder::new(&mut bytes, Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        // `set_path` would refuse it, as a stream of somebody else does not.
        header.as_old_mut().name[..7].copy_from_slice(b"../evil");
        header.set_cksum();
        tar.append(&header, &b"x"[..]).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("run");
        std::fs::create_dir(&dir).unwrap();
        assert!(unpack(&bytes[..], &dir).is_err());
        assert!(!outer.path().join("evil").exists());
    }
}
