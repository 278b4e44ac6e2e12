//! The way of file bytes to the kernel.
//!
//! Tiers, best first; the active one is always reported, with the reason for every one passed over:
//! 1. *imported*: anonymous pages that io_uring fills and the device maps;
//! 2. *mapped*: memory of the device that the host maps and io_uring fills;
//! 3. *copied*: pages that io_uring fills and the CPU copies to the device, each byte counted.
//!
//! Reading by threads where io_uring is forbidden (tier 4) is the reader's business and goes with each of them. The reference
//! engine is *lent* the blocks.

use std::fmt;
use std::sync::Arc;

use vyre_io::{BackendChoice, BackendKind, Block, Pool, Reader};
use vyre_mem::Region;
use vyre_protocol::slot::Operand;
use vyre_vk::{DeviceKind, MemoryUse};

use crate::engine::EngineKind;
use crate::error::{ResourceError, StagingError};
use crate::litmus;
use crate::resource::Resource;
use crate::runtime::Runtime;

/// How the kernel gets at a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagingTier {
    /// Host pages imported into the device.
    Imported,
    /// Device memory mapped into the host.
    Mapped,
    /// A copy by the CPU.
    Copied,
    /// The block itself, lent to host threads.
    Lent,
}

impl fmt::Display for StagingTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StagingTier::Imported => "imported host pages",
            StagingTier::Mapped => "mapped device memory",
            StagingTier::Copied => "copied by the CPU",
            StagingTier::Lent => "lent blocks",
        })
    }
}

/// Which tier to use on a Vulkan device. The reference engine is always lent its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TierChoice {
    /// The best that works.
    #[default]
    Auto,
    /// Imported pages, or an error.
    Imported,
    /// Mapped memory, or an error.
    Mapped,
    /// A copy.
    Copied,
}

/// A reader whose blocks the kernel can read.
pub struct Staging {
    /// Fills the blocks.
    pub reader: Reader,
    tier: StagingTier,
    /// Why better tiers are not in use, best first.
    passed_over: Vec<String>,
    input: Input,
    /// Offset of the pool's first byte in the input resource.
    base: u32,
    /// A block that a device works on is kept here, by its index; the reference engine keeps its own.
    held: Vec<Option<Block>>,
}

enum Input {
    /// The device sees the pool.
    Shared(Resource),
    /// The device has memory of its own that mirrors the pool.
    Copy(Resource),
    /// A handle for each block.
    Lent(Vec<Resource>),
}

/// Alignment of the pool where the device does not ask for more: that of a large page on some GPUs.
const ALIGN: usize = 64 << 10;

/// What direct reads ask of addresses in memory.
const DIRECT_ALIGN: usize = 4096;

impl Staging {
    /// A path with `depth` blocks of `block_size` bytes, or as many as the device can allocate.
    ///
    /// # Errors
    /// [`StagingError`] says why no tier, or not the demanded one, is possible.
    pub fn new(
        runtime: &mut Runtime,
        block_size: usize,
        depth: usize,
        tier: TierChoice,
        backend: BackendChoice,
    ) -> Result<Staging, StagingError> {
        // Drivers refuse allocations that come near their limit, so half of it must do.
        let most = (runtime.engine().max_allocation / 2 / block_size.max(1) as u64).max(1);
        let blocks = depth.min(usize::try_from(most).unwrap_or(usize::MAX));
        let bytes = block_size.saturating_mul(blocks);
        if runtime.engine().kind == EngineKind::Reference {
            return Self::lent(runtime, bytes, block_size, backend);
        }
        let mut passed_over = Vec::new();
        if blocks < depth {
            passed_over.push(format!("depth {depth}: the device allocates no more than {blocks} such blocks"));
        }
        let tiers: [(TierChoice, Make, &'static str); 3] = [
            (TierChoice::Imported, Self::imported, "imported"),
            (TierChoice::Mapped, Self::mapped, "mapped"),
            (TierChoice::Copied, Self::copied, "copied"),
        ];
        for (this, make, name) in tiers {
            if tier != TierChoice::Auto && tier != this {
                continue;
            }
            match make(runtime, bytes, block_size, backend) {
                Ok(staging) => return Ok(Staging { passed_over, ..staging }),
                Err(error) => passed_over.push(format!("{name}: {error}")),
            }
        }
        let tier = tiers.iter().find(|(this, ..)| *this == tier).map_or("auto", |(.., name)| name);
        Err(StagingError::Tier { tier, reason: passed_over.join("; ") })
    }

    fn imported(
        runtime: &mut Runtime,
        bytes: usize,
        block_size: usize,
        backend: BackendChoice,
    ) -> Result<Staging, StagingError> {
        let align = runtime.engine().import_alignment.ok_or(ResourceError::NoImport)? as usize;
        // Software devices read the pages themselves. A GPU may keep host memory in its caches for as long as a dispatch runs,
        // whatever the kernel asks for, and Vulkan allows it.
        if !matches!(runtime.engine().kind, EngineKind::Vulkan(DeviceKind::Software)) {
            let report = litmus::sees_host_pages(runtime)?;
            if !report.host_to_device() {
                let (stale, tries) = (report.stale_inputs, report.tries);
                return Err(StagingError::StalePages { stale, tries });
            }
        }
        let pages = Region::anonymous(bytes, align.max(ALIGN))?;
        let reader = Reader::new(Pool::new(pages.slice(0..bytes).unwrap_or(pages.clone()), block_size)?, backend)?;
        let input = Input::Shared(runtime.import(&pages)?);
        Ok(Self::over(reader, StagingTier::Imported, input, 0))
    }

    fn mapped(
        runtime: &mut Runtime,
        bytes: usize,
        block_size: usize,
        backend: BackendChoice,
    ) -> Result<Staging, StagingError> {
        let resource = runtime.allocate((bytes + DIRECT_ALIGN) as u64, MemoryUse::HostToDevice)?;
        let made = resource.region().ok_or(ResourceError::NoImport.into()).and_then(|region| {
            let base = region.as_ptr().align_offset(DIRECT_ALIGN);
            let pool = region.slice(base..base + bytes).unwrap_or_else(|_| region.clone());
            Ok((base as u32, Reader::new(Pool::new(pool, block_size)?, backend)?))
        });
        let (base, reader) = match made {
            Ok(made) => made,
            Err(error) => {
                runtime.release(resource);
                return Err(error);
            }
        };
        // io_uring cannot pin every mapping of device memory; then it may still fill ordinary pages, which are copied.
        if reader.backend().kind == BackendKind::Threads && backend == BackendChoice::Auto {
            let page = Pool::private(1, DIRECT_ALIGN)?;
            if Reader::new(page, BackendChoice::IoUring).is_ok() {
                let reason = reader.backend().reason.clone().unwrap_or_default();
                runtime.release(resource);
                return Err(StagingError::Tier { tier: "mapped", reason });
            }
        }
        Ok(Self::over(reader, StagingTier::Mapped, Input::Shared(resource), base))
    }

    fn copied(
        runtime: &mut Runtime,
        bytes: usize,
        block_size: usize,
        backend: BackendChoice,
    ) -> Result<Staging, StagingError> {
        let reader = Reader::new(Pool::private(bytes / block_size, block_size)?, backend)?;
        let resource =
            runtime.allocate((reader.pool().blocks() as usize * block_size) as u64, MemoryUse::HostToDevice)?;
        Ok(Self::over(reader, StagingTier::Copied, Input::Copy(resource), 0))
    }

    fn lent(
        runtime: &mut Runtime,
        bytes: usize,
        block_size: usize,
        backend: BackendChoice,
    ) -> Result<Staging, StagingError> {
        let reader = Reader::new(Pool::private(bytes / block_size, block_size)?, backend)?;
        let places = (0..reader.pool().blocks()).filter_map(|_| runtime.register_lent(block_size as u32));
        let input = Input::Lent(places.collect::<Result<_, _>>()?);
        Ok(Self::over(reader, StagingTier::Lent, input, 0))
    }

    fn over(reader: Reader, tier: StagingTier, input: Input, base: u32) -> Staging {
        let held = (0..reader.pool().blocks()).map(|_| None).collect();
        Staging { reader, tier, passed_over: Vec::new(), input, base, held }
    }

    /// The tier in use.
    #[must_use]
    pub fn tier(&self) -> StagingTier {
        self.tier
    }

    /// Why better tiers are not in use, best first.
    #[must_use]
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Blocks of the pool.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.reader.pool().blocks()
    }

    /// Lets the kernel read a block, and says where it finds it. Keep the block's index for [`take_back`](Self::take_back).
    ///
    /// # Errors
    /// [`RangeError`](vyre_mem::RangeError) if the block is not one of this pool.
    pub fn hand_over(&mut self, runtime: &Runtime, block: Block) -> Result<Operand, vyre_mem::RangeError> {
        let (index, offset) = (block.index() as usize, block.offset() as u32);
        let operand = match &self.input {
            Input::Shared(resource) => resource.at(self.base + offset),
            Input::Copy(resource) => {
                let unlent = vyre_mem::RangeError { offset: 0, len: block.len(), region: 0 };
                let bytes = block.bytes().ok_or(unlent)?;
                let words = bytes.len() & !3;
                resource.write(offset as usize, &bytes[..words])?;
                let mut tail = [0; 4];
                tail[..bytes.len() - words].copy_from_slice(&bytes[words..]);
                if words < bytes.len() {
                    resource.write(offset as usize + words, &tail)?;
                }
                self.reader.add_bounce(bytes.len() as u64);
                resource.at(offset)
            }
            Input::Lent(places) => {
                let unlent = vyre_mem::RangeError { offset: index, len: 1, region: places.len() };
                let place = places.get(index).ok_or(unlent)?;
                runtime.lend(place, Arc::new(block.lend().ok_or(unlent)?));
                return Ok(place.at(0));
            }
        };
        self.held[index] = Some(block);
        Ok(operand)
    }

    /// Gives the memory back to the runtime, when no slot works on a block any more.
    pub fn release(self, runtime: &mut Runtime) {
        match self.input {
            Input::Shared(resource) | Input::Copy(resource) => runtime.release(resource),
            Input::Lent(places) => places.into_iter().for_each(|place| runtime.release(place)),
        }
    }

    /// Takes a block back that the kernel is done with; it returns to the pool.
    pub fn take_back(&mut self, runtime: &Runtime, index: u32) {
        if let Input::Lent(places) = &self.input
            && let Some(place) = places.get(index as usize)
        {
            runtime.lend(place, Arc::new([0_u8; 0]));
        }
        if let Some(held) = self.held.get_mut(index as usize) {
            *held = None;
        }
    }
}

type Make = fn(&mut Runtime, usize, usize, BackendChoice) -> Result<Staging, StagingError>;
