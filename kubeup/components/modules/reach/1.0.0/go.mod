module kubeup.invalid/reach

go 1.24
