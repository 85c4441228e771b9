# Three machines, one cluster: they find each other, one is switched off, the others go on. For who has nixpkgs and KVM:
# nix build .#checks.x86_64-linux.cluster
{ pkgs }:
let
  names = [
    "one"
    "two"
    "three"
  ];
  # The test driver numbers the machines by their names in order.
  nodes = {
    one = "192.168.1.1";
    three = "192.168.1.2";
    two = "192.168.1.3";
  };

  package = pkgs.callPackage ../package.nix { };
  issue = name: address: ''
    ${package}/bin/tmctl ca issue ${name} --address ${address} --dir ca --yes
  '';
  # Keys that anybody may read, for machines that live for a minute.
  pki = pkgs.runCommand "taskmaster-test-pki" { } ''
    export HOME=$TMPDIR
    echo "a passphrase that anybody may read" > passphrase
    export TMCTL_CA_PASSPHRASE_FILE=passphrase
    ${package}/bin/tmctl ca init --dir ca --yes
    ${pkgs.lib.concatStrings (pkgs.lib.mapAttrsToList issue nodes)}
    mkdir $out
    cp ca/*.pem ca/*.key $out/
  '';

  machine = {
    imports = [ ../modules ];
    virtualisation.memorySize = 1024;
    environment.etc."taskmaster/pki".source = pki;
    services.taskmaster = {
      enable = true;
      inherit package nodes;
      pki = "/etc/taskmaster/pki";
      etcd.enable = true;
    };
  };
in
pkgs.testers.runNixOSTest {
  name = "taskmaster-cluster";
  nodes = pkgs.lib.genAttrs names (_: machine);
  testScript = ''
    import json

    def alive(node):
        seen = json.loads(node.succeed("tmctl --json nodes"))["items"]
        return sorted(one["name"] for one in seen if one["state"] == "alive")

    def leaders(node):
        seen = json.loads(node.succeed("tmctl --json nodes"))["items"]
        return [one["name"] for one in seen if one["leader"] and one["state"] == "alive"]

    start_all()
    for node in [one, two, three]:
        # Ready means that the node said so itself.
        node.wait_for_unit("taskmaster.service")
        node.wait_for_open_port(3001)

    with subtest("every node sees all of them, and the same leader"):
        for node in [one, two, three]:
            retry(lambda _: alive(node) == ["one", "three", "two"])
            retry(lambda _: len(leaders(node)) == 1)

    with subtest("a locked node refuses to open, and its unit keeps it in the house"):
        said = one.fail("tmctl mode set hybrid 2>&1")
        assert "locked to local-only" in said, said
        one.succeed("systemctl show taskmaster -p IPAddressDeny | grep -q '0.0.0.0/0'")

    with subtest("what the nodes say to each other is closed to others"):
        one.succeed("iptables -S nixos-fw | grep -- '--dport 3003' | grep -q 192.168.1.3")

    with subtest("one machine is switched off, the others go on"):
        three.crash()
        for node in [one, two]:
            retry(lambda _: alive(node) == ["one", "two"])
            retry(lambda _: len(leaders(node)) == 1)

    with subtest("a node that dies is started again"):
        one.succeed("systemctl kill --signal=KILL taskmaster")
        one.wait_until_succeeds("curl --fail --silent http://127.0.0.1:3001/healthz", timeout=60)
  '';
}
