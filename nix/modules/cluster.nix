# Several nodes: who they are, how they prove it, the etcd that they share, and who may reach which port.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.services.taskmaster;
  name = cfg.settings.node.name;
  isCluster = cfg.nodes != { };
  own = bracketed (cfg.nodes.${name} or "127.0.0.1");
  everywhere = if isV6 own then "[::]" else "0.0.0.0";
  others = removeAttrs cfg.nodes [ name ];
  isShared = cfg.etcd.enable && isCluster;
  etcdKeys = "/run/credentials/etcd.service";
  pki = {
    "ca.pem" = "${cfg.pki}/ca.pem";
    "${name}.pem" = "${cfg.pki}/${name}.pem";
    "${name}.key" = "${cfg.pki}/${name}.key";
  };
  # Members of etcd are told who is let in no more as well.
  etcdPki = pki // {
    "crl.pem" = "${cfg.pki}/crl.pem";
  };
  # The address and not the name, as on Debian: members agree on one form. Whoever is missing is told of below.
  peerUrl = member: "https://${bracketed (cfg.nodes.${member} or member)}:2380";

  nodePorts = [
    3003
    3004
  ]
  ++ lib.optionals isShared [
    2379
    2380
  ]
  ++ cfg.worker.sharedPorts;
  isV6 = lib.hasInfix ":";
  bracketed = address: if isV6 address then "[${address}]" else address;
  commas = ports: lib.concatMapStringsSep ", " toString ports;
  nftRule =
    address:
    "${
      if isV6 address then "ip6" else "ip"
    } saddr ${address} tcp dport { ${commas nodePorts} } accept\n";
  tables = do: address: port: ''
    ${
      if isV6 address then "ip6tables" else "iptables"
    } -w -${do} nixos-fw -p tcp -s ${address} --dport ${toString port} -j nixos-fw-accept
  '';
  forEachDoor =
    make:
    lib.concatMapStrings (address: lib.concatMapStrings (make address) nodePorts) (
      lib.attrValues others
    );
  usesNftables = config.networking.nftables.enable or false;
in
{
  options.services.taskmaster = {
    nodes = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        grey-area = "192.168.1.10";
        sleeper-service = "192.168.1.11";
        nas = "192.168.1.12";
      };
      description = ''
        Every node of the cluster, this one as well, and its address in the house. Only these may reach the ports between
        nodes and those of shared engines. Empty is a single node.
      '';
    };

    pki = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "/etc/taskmaster/pki";
      description = ''
        Folder on this machine with what `tmctl ca issue NAME --address IP` wrote: `ca.pem`, `NAME.pem` and `NAME.key`, and
        for a member of etcd `crl.pem` of the same folder. systemd hands them over, so root alone needs to be able to read them.
      '';
    };

    etcd = {
      enable = lib.mkEnableOption "a member of the etcd that the nodes share; an odd number of them should be one";
      initialState = mkOption {
        type = types.enum [
          "new"
          "existing"
        ];
        default = "new";
        description = "Whether this member begins the etcd together with the others, or joins one that runs.";
      };
      members = mkOption {
        type = types.listOf types.str;
        default = lib.attrNames cfg.nodes;
        defaultText = lib.literalMD "all of `nodes`";
        description = "The names of the nodes that are members; the addresses in `nodes` stand in their certificates.";
      };
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      (lib.mkIf isCluster {
        services.taskmaster.settings = {
          peers = {
            listen = lib.mkDefault "${everywhere}:3003";
            advertise = lib.mkDefault "${own}:3003";
          };
          actors = {
            enabled = lib.mkDefault true;
            listen = lib.mkDefault "${everywhere}:3004";
            advertise = lib.mkDefault "${own}:3004";
          };
        };
        assertions = [
          {
            assertion = cfg.nodes ? ${name};
            message = "services.taskmaster.nodes does not name this node, `${name}`: add it with its address.";
          }
          {
            assertion = cfg.settings ? tls;
            message = "services.taskmaster.nodes: nodes prove to each other who they are; set services.taskmaster.pki.";
          }
          {
            assertion = (cfg.settings.store.kind or "sled") == "etcd";
            message = "services.taskmaster.nodes: several nodes share an etcd; enable services.taskmaster.etcd, or set settings.store.";
          }
        ];
        networking.firewall = {
          extraInputRules = lib.mkIf usesNftables (lib.concatMapStrings nftRule (lib.attrValues others));
          extraCommands = lib.mkIf (!usesNftables) (forEachDoor (tables "A"));
          extraStopCommands = lib.mkIf (!usesNftables) (
            forEachDoor (address: port: lib.removeSuffix "\n" (tables "D" address port) + " || true\n")
          );
        };
      })
      (lib.mkIf (cfg.pki != null) {
        services.taskmaster.credentials = pki;
        services.taskmaster.settings.tls = {
          ca = "ca.pem";
          cert = "${name}.pem";
          key = "${name}.key";
        };
      })
      (lib.mkIf cfg.etcd.enable {
        services.taskmaster.settings.store = {
          kind = "etcd";
          endpoints = lib.mkDefault [ "http://127.0.0.1:2379" ];
        };
        # The node of this machine asks over loopback; members, under the names in them, and nodes on machines without a
        # member show the nodes' own certificates.
        services.etcd = {
          enable = true;
          inherit name;
          initialClusterState = cfg.etcd.initialState;
        }
        // (
          if isCluster then
            {
              listenClientUrls = [
                "http://127.0.0.1:2379"
                "https://${own}:2379"
              ];
              advertiseClientUrls = [ "https://${own}:2379" ];
              listenPeerUrls = [ "https://${everywhere}:2380" ];
              initialAdvertisePeerUrls = [ (peerUrl name) ];
              initialCluster = map (member: "${member}=${peerUrl member}") cfg.etcd.members;
              clientCertAuth = true;
              trustedCaFile = "${etcdKeys}/ca.pem";
              certFile = "${etcdKeys}/${name}.pem";
              keyFile = "${etcdKeys}/${name}.key";
              peerClientCertAuth = true;
              peerTrustedCaFile = "${etcdKeys}/ca.pem";
              peerCertFile = "${etcdKeys}/${name}.pem";
              peerKeyFile = "${etcdKeys}/${name}.key";
              # Read with every new connection; those that are open live until etcd is started anew.
              extraConf = {
                CLIENT_CRL_FILE = "${etcdKeys}/crl.pem";
                PEER_CRL_FILE = "${etcdKeys}/crl.pem";
              };
            }
          else
            {
              listenClientUrls = [ "http://127.0.0.1:2379" ];
              advertiseClientUrls = [ "http://127.0.0.1:2379" ];
              listenPeerUrls = [ "http://127.0.0.1:2380" ];
              initialAdvertisePeerUrls = [ "http://127.0.0.1:2380" ];
              initialCluster = [ "${name}=http://127.0.0.1:2380" ];
            }
        );
      })
      (lib.mkIf isShared {
        assertions = [
          {
            assertion = cfg.pki != null;
            message = "services.taskmaster.etcd: members prove to each other who they are; set services.taskmaster.pki.";
          }
          {
            assertion = lib.all (member: cfg.nodes ? ${member}) cfg.etcd.members;
            message = "services.taskmaster.etcd.members names a node that is not in services.taskmaster.nodes: add it there with its address.";
          }
        ];
        systemd.services.etcd.serviceConfig = {
          LoadCredential = lib.mkIf (cfg.pki != null) (
            lib.mapAttrsToList (file: path: "${file}:${path}") etcdPki
          );
          # Half a minute without a member is long where three of them decide.
          RestartSec = lib.mkForce "2s";
        };
        # The names in the certificates, also where the house has no name server.
        networking.hosts = lib.mapAttrs' (node: address: lib.nameValuePair address [ node ]) others;
      })
    ]
  );
}
