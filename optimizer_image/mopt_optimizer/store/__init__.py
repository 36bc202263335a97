"""Where models, data and results lie: any S3, or a folder for local runs."""
