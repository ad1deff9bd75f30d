module kubeup.invalid/volume-helper

go 1.22
