//! Folders with kernels: what is damaged or of another build is refused with the reason. No device is needed.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use vyre_protocol::custom::{MANIFEST_FILE, Manifest, ModuleFault, NameError, RESIDENT_MODULES, checksum};
use vyre_vk::{CustomError, CustomKernel};

const KERNEL: &[u8] = include_bytes!("../../spirv/exec.spv");

/// A folder whose modules all consist of these bytes, with a true manifest.
fn folder(module: &[u8], names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in RESIDENT_MODULES {
        fs::write(folder.path().join(name), module).unwrap();
    }
    write(folder.path(), &manifest(module, names));
    folder
}

fn manifest(module: &[u8], names: &[&str]) -> Manifest {
    let operations = names.iter().map(|name| (*name).to_owned()).collect();
    let modules = RESIDENT_MODULES.map(|name| (name.to_owned(), checksum(module))).into();
    Manifest { kernel: checksum(KERNEL), operations, modules }
}

fn write(folder: &Path, manifest: &Manifest) {
    fs::write(folder.join(MANIFEST_FILE), serde_json::to_string(manifest).unwrap()).unwrap();
}

/// What is wrong with the first module, if it consists of these words.
fn fault(words: &[u32]) -> ModuleFault {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    module_fault(folder(&bytes, &["a"]).path())
}

fn module_fault(folder: &Path) -> ModuleFault {
    match CustomKernel::load(folder).unwrap_err() {
        CustomError::Module { path, fault } => {
            assert!(path.ends_with(RESIDENT_MODULES[0]));
            fault
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_whole_folder_is_taken_and_names_have_codes() {
    let kernel = CustomKernel::load(folder(KERNEL, &["a", "b_2"]).path()).unwrap();
    assert_eq!(kernel.names(), ["a", "b_2"]);
    assert_eq!(kernel.operation("b_2").unwrap(), 0x1001);
    let unknown = kernel.operation("c").unwrap_err().to_string();
    assert_eq!(unknown, "there is no custom operation 'c'; there are: a, b_2");
}

#[test]
fn names_that_no_operation_can_have_are_refused() {
    for names in
        [&["A"][..], &["1a"], &["a__b"], &["a", "a"], &["a-b"], &[""], &["an_operation_of_far_too_many_letters"]]
    {
        let refused = CustomKernel::load(folder(KERNEL, names).path()).unwrap_err();
        assert!(matches!(refused, CustomError::Names { source: NameError::Name { .. }, .. }), "{names:?}: {refused}");
    }
    for names in [&[][..], &["a", "b", "c", "d", "e", "f", "g", "h", "i"]] {
        let refused = CustomKernel::load(folder(KERNEL, names).path()).unwrap_err();
        assert!(
            matches!(refused, CustomError::Names { source: NameError::Count { count }, .. } if count == names.len()),
            "{refused}"
        );
    }
}

#[test]
fn what_is_no_module_or_another_than_was_built_is_refused() {
    let header = [0x0723_0203, 0x0001_0500, 0, 8, 0];
    assert_eq!(fault(&[0x0302_2307, header[1], 0, 8, 0]), ModuleFault::Magic { word: 0x0302_2307 });
    assert_eq!(fault(&[header[0], 0x0001_0600, 0, 8, 0]), ModuleFault::Version { word: 0x0001_0600 });
    assert_eq!(fault(&header[..4]), ModuleFault::Size { bytes: 16 });
    assert_eq!(fault(&[&header[..], &[0]].concat()), ModuleFault::Instruction { at: 5, words: 6 });
    assert_eq!(fault(&[&header[..], &[0x0002_0000]].concat()), ModuleFault::Instruction { at: 5, words: 6 });
    // A main function, one that it calls, and one that nobody does.
    let function =
        |id: u32, loops: usize| [vec![5 << 16 | 54, 1, id, 0, 1], [3 << 16 | 246, 0, 0].repeat(loops)].concat();
    let (entry, call) = (vec![4 << 16 | 15, 5, 2, 0], vec![4 << 16 | 57, 1, 9, 3]);
    let many = [header.to_vec(), entry, function(2, 40), call, function(3, 9), function(4, 50)].concat();
    assert_eq!(fault(&many), ModuleFault::Loops { loops: 49 });
    assert_eq!(
        module_fault(folder(&KERNEL[..KERNEL.len() - 1], &["a"]).path()),
        ModuleFault::Size { bytes: KERNEL.len() - 1 }
    );

    let folder = folder(KERNEL, &["a"]);
    fs::write(folder.path().join(RESIDENT_MODULES[0]), &KERNEL[..KERNEL.len() - 4]).unwrap();
    assert!(matches!(module_fault(folder.path()), ModuleFault::Checksum { .. }));
    fs::remove_file(folder.path().join(RESIDENT_MODULES[0])).unwrap();
    let missing = CustomKernel::load(folder.path()).unwrap_err();
    assert!(matches!(&missing, CustomError::Read { path, .. } if path.ends_with(RESIDENT_MODULES[0])), "{missing}");
}

#[test]
fn a_manifest_of_another_kernel_or_none_is_refused() {
    let folder = folder(KERNEL, &["a"]);
    let manifest = manifest(KERNEL, &["a"]);
    write(folder.path(), &Manifest { kernel: manifest.kernel ^ 1, ..manifest });
    let other = CustomKernel::load(folder.path()).unwrap_err();
    assert!(matches!(other, CustomError::OtherKernel { found, expected, .. } if found == expected ^ 1), "{other}");
    fs::write(folder.path().join(MANIFEST_FILE), "{\"kernel\": 1, \"more\": 2}").unwrap();
    assert!(matches!(CustomKernel::load(folder.path()), Err(CustomError::Manifest { .. })));
    fs::remove_file(folder.path().join(MANIFEST_FILE)).unwrap();
    let none = CustomKernel::load(folder.path()).unwrap_err();
    assert!(matches!(none, CustomError::Read { .. }) && none.to_string().contains("build-shaders --ops"), "{none}");
}
