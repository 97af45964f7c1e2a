//! Files with holes, in the forms that GNU tar has for them (GNU tar manual,
//! "Storing Sparse Files").

use std::io::{self, BufRead};

use tar::Header;

use super::super::pax::number;
use super::{BLOCK, TarReader, invalid, truncated};

const MAX_EXTENTS: usize = 65_536;

/// A file with holes.
#[derive(Debug)]
pub(crate) struct Sparse {
    /// Offset and length of each stretch of content, in order.
    pub(crate) extents: Vec<(u64, u64)>,
    pub(crate) real_size: u64,
}

impl<R: BufRead> TarReader<R> {
    pub(super) fn gnu_sparse(&mut self, header: &Header) -> io::Result<Sparse> {
        let gnu = header
            .as_gnu()
            .ok_or_else(|| invalid("a sparse file's header is not GNU's"))?;
        let mut extents = Vec::new();
        let mut add = |part: &tar::GnuSparseHeader| -> io::Result<()> {
            if !part.is_empty() {
                extents.push((part.offset()?, part.length()?));
            }
            Ok(())
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut more = gnu.is_extended();
        let mut blocks = 0;
        while more {
            let mut extension = tar::GnuExtSparseHeader::new();
            if super::super::read_full(&mut self.source, extension.as_mut_bytes())? != BLOCK {
                return Err(truncated());
            }
            extension.sparse.iter().try_for_each(&mut add)?;
            more = extension.is_extended();
            blocks += 1;
            if blocks > MAX_EXTENTS / 21 {
                return Err(invalid("a sparse file has too many parts"));
            }
        }
        Ok(Sparse {
            extents,
            real_size: gnu.real_size()?,
        })
    }

    /// The pax forms 0.1 (the map in the header) and 1.0 (the map before the content).
    pub(super) fn pax_sparse(
        &mut self,
        major: Option<u64>,
        map: Option<&[u8]>,
        real_size: Option<u64>,
    ) -> io::Result<Sparse> {
        let malformed = || invalid("a sparse file's map is malformed");
        let real_size = real_size.ok_or_else(malformed)?;
        let numbers = match (major, map) {
            (None | Some(0), Some(map)) => {
                let numbers: Option<Vec<_>> = map.split(|byte| *byte == b',').map(number).collect();
                numbers.ok_or_else(malformed)?
            }
            (Some(1), _) => self.pax_sparse_prefix()?,
            _ => return Err(invalid("a sparse file is of an unknown form")),
        };
        if numbers.len() / 2 > MAX_EXTENTS || numbers.len() % 2 != 0 {
            return Err(malformed());
        }
        let extents = numbers
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect();
        Ok(Sparse { extents, real_size })
    }

    fn pax_sparse_prefix(&mut self) -> io::Result<Vec<u64>> {
        let malformed = || invalid("a sparse file's map is malformed");
        let (mut numbers, mut wanted, mut line, mut read) = (Vec::new(), None, Vec::new(), 0usize);
        while wanted.is_none_or(|wanted| numbers.len() < wanted) {
            let byte = *self.content()?.first().ok_or_else(malformed)?;
            self.consume(1);
            read += 1;
            match byte {
                b'\n' => {
                    let value = number(&line).ok_or_else(malformed)?;
                    line.clear();
                    if wanted.is_some() {
                        numbers.push(value);
                    } else {
                        let pairs = usize::try_from(value)
                            .ok()
                            .filter(|pairs| *pairs <= MAX_EXTENTS);
                        wanted = Some(pairs.ok_or_else(malformed)? * 2);
                    }
                }
                _ if line.len() < 20 => line.push(byte),
                _ => return Err(malformed()),
            }
        }
        // The map is padded to whole blocks.
        for _ in read..read.next_multiple_of(BLOCK) {
            if self.content()?.is_empty() {
                return Err(malformed());
            }
            self.consume(1);
        }
        Ok(numbers)
    }

    pub(super) fn check_sparse(&self, sparse: &Sparse) -> io::Result<()> {
        let (mut end, mut stored) = (0u64, 0u64);
        for (offset, length) in &sparse.extents {
            let after = offset
                .checked_add(*length)
                .filter(|after| *offset >= end && *after <= sparse.real_size);
            end = after.ok_or_else(|| invalid("a sparse file's parts overlap or pass its end"))?;
            stored += length;
        }
        if stored == self.remaining && sparse.real_size <= i64::MAX as u64 {
            Ok(())
        } else {
            Err(invalid(
                "a sparse file's parts do not add up to its content",
            ))
        }
    }
}
