# Adds the packages under the names that the module looks for.
final: _: {
  taskmaster = final.callPackage ./package.nix { };
  taskmaster-engine = final.taskmaster.override { withEngine = true; };
}
