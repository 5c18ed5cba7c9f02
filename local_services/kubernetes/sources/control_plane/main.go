// One program with the Kubernetes control plane in it: etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler, unchanged, each a subcommand.
// Built as one, they are linked once: a third of the time and disk of four programs.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // The metrics of the client.
	_ "k8s.io/component-base/metrics/prometheus/version"  // build_info, as in the originals.
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

var programs = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

func main() {
	if len(os.Args) < 2 {
		fail("which program?")
	}
	// Each program reads os.Args itself and finds its own name in front.
	name := os.Args[1]
	os.Args = os.Args[1:]
	if name == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	command, known := programs[name]
	if !known {
		fail("unknown program " + name)
	}
	os.Exit(cli.Run(command()))
}

func fail(why string) {
	fmt.Fprintln(os.Stderr, why, "- usage: control-plane etcd|kube-apiserver|kube-controller-manager|kube-scheduler [flags]")
	os.Exit(2)
}
