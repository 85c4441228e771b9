# `services.taskmaster`: a node of the cluster, and what each of its roles brings along.
{
  imports = [
    ./node.nix
    ./unit.nix
    ./roles.nix
    ./cluster.nix
  ];
}
