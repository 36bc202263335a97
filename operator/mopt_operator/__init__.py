"""The operator: observes ModelOptimizations, Jobs and Pods; decides; carries out."""
