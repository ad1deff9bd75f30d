module kubeup.invalid/snapshots

go 1.22
